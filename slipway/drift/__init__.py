"""Drift checks, one per file."""
