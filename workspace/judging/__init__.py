"""What the gathered facts mean for a run: pure functions from facts to findings."""
