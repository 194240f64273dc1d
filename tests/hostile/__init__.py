"""Runs that somebody damaged or prepared, made from sound ones with a seed, and what analyzing them does."""
