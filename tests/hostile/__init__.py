"""Runs that somebody damaged or prepared, made from sound ones with a seed, and what `gradaudit analyze` does with them."""
