"""What a training shows of itself: its tensors and their names, its losses, batches, modes and calls."""
