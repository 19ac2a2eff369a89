"""The registry ``azureml``: models and components, read only."""
