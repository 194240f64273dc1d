"""The training loss: its kind, its start, its course and its end."""
