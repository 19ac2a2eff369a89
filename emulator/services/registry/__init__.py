"""The registries: models and components, read only."""
