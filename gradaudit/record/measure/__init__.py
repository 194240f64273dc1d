"""Tensors to numbers: on the device in few passes, copied to the host later, with as few waits as can be."""
