"""Losses on other data than the training's."""
