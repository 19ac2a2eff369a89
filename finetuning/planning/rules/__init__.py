"""The rules: pure functions from facts to findings, a module per subject."""
