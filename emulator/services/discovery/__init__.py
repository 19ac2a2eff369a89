"""How the cloud describes itself, and where its services are."""
