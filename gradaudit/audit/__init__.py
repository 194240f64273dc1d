"""The analysis of a run: every diagnoser over it, what came of each, and several analyses side by side."""
