"""One module per Azure noun, one retryable Prefect task per step of the tutorial."""
