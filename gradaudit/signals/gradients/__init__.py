"""Gradients: their size, spread, noise and clipping, and where they stop being numbers."""
