"""How far a run's records reach."""
