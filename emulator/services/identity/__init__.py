"""Tokens: of a managed identity on this machine, of a service principal that signs in."""
