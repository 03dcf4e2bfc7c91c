"""Flows: one file per button, each reads as a paragraph."""
