"""The workspace itself, and what its caller may do there."""
