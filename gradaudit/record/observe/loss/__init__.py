"""The losses of a script: found, told apart, and what their targets are."""
