"""Evidence drawn: one module a kind, and the pieces that they are made of."""
