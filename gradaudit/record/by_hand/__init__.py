"""Training without torch's optimizers: parameters that the script itself changes after a backward."""
