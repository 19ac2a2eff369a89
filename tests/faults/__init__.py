"""The single-fault sweep: one run for every request of a clean run and every kind of fault."""
