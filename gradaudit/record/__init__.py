"""The recorder: the only room that knows torch."""
