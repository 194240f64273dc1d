"""Losses without a backward: which pass and which split of the data they belong to."""
