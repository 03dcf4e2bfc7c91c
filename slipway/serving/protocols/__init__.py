"""The protocols the data plane speaks, one per file."""
