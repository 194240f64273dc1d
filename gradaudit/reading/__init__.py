"""A recorded run, read back: whatever is in its folder, told apart from what cannot be believed."""
