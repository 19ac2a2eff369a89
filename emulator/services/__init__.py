"""One room for each service: its routes beside its behaviour."""
