"""Public checks that every implementation of a port must pass."""
