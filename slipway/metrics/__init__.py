"""Live metrics: one SQL expression over the inference log per file."""
