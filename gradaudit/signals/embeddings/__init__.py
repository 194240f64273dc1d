"""Embedding tables and their rows."""
