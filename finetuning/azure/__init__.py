"""The way into a workspace: settings, credential, client, and what a resource is called."""
