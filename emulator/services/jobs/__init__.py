"""Pipeline jobs: accepted, run as real processes, told about."""
