"""Runtimes: where replicas run, one per file."""
