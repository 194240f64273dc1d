"""Which tensors may be compared, how they began, and which stand still."""
