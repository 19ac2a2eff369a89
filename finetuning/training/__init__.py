"""A training while it goes on: its curve, when it is hopeless, why it fails."""
