"""Stores: the ledger and the inference log."""
