"""Run history and MLflow: what runs said about themselves."""
