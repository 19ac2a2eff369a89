"""Versioned models and data of the workspace, and where their bytes are."""
