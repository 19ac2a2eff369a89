"""The DAGs; each reads as one paragraph."""
