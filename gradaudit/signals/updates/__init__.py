"""Updates and learning rates: how far the weights move at a step."""
