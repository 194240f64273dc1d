"""Sentences, measures and advice that several findings share."""
