"""The library: what a fine-tune on Azure ML is, without an orchestrator."""
