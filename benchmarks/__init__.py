"""Side-by-side measurements; RESULTS.md keeps their figures."""
