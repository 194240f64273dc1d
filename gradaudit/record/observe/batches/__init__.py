"""What batches hold: moments, classes, shifts between inputs and targets, equal examples."""

from gradaudit.record.observe.batches.batches import BATCHES, Batches

__all__ = ["BATCHES", "Batches"]
