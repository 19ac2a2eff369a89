"""The gates: each asks Azure for facts of one kind; none creates anything."""
