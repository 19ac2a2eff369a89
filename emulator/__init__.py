"""Azure ML's protocol on loopback, for the unmodified Azure SDK: trains and serves for real."""
