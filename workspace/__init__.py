"""The way into an Azure ML workspace: settings, the one client factory, types, errors."""
