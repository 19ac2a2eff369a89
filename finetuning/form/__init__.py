"""The flow's one parameter, as the UI shows it, and what the steps bring back."""
