"""Managed identity: tokens for whoever runs on this machine."""
