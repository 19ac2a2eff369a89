"""One module per resource: its paths, its handlers, its list of routes."""
