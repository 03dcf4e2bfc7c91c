"""Tasks: verbs on the world, one file per effect worth retrying or watching."""
