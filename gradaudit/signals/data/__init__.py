"""Numbers about the batches that a training sees."""
