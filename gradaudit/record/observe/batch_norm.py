"""How many values each channel of a BatchNorm module was normalised over, at its first training batch."""

import weakref

import torch
from torch import nn

# By the identity of the module's weight, or of its running mean where it has no weight.
_seen: dict[int, tuple["weakref.ref[torch.Tensor]", int]] = {}


def known(key: torch.Tensor | None) -> bool:
    """Whether the module was seen, or cannot be told from others."""
    return key is None or id(key) in _seen


def note(key: torch.Tensor, input: torch.Tensor) -> None:
    """Remember the values per channel of `input`, [batch, channels, *positions]."""
    identity = id(key)
    count = input.numel() // max(1, int(input.shape[1]))
    _seen[identity] = (weakref.ref(key, lambda _: _seen.pop(identity, None)), count)


def values_of(module: nn.Module) -> int:
    """Values per channel of a BatchNorm module; 0 when it was not seen in training."""
    # Not asked for as attributes, which may run the script's code.
    held = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    weight = held.get("weight")
    entry = _seen.get(id(held.get("running_mean") if weight is None else weight))
    return entry[1] if entry is not None else 0
