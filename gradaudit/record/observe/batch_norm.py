"""How many values each channel of a BatchNorm module was normalised over, at its first training batch.

And with which statistics a copy of the trained model evaluates: whether they were ever made by its own weights.
"""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from gradaudit.record.internals import version_of
from gradaudit.record.measure.checksums import checksum

_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
# By the identity of the module's weight, or of its running mean where it has no weight.
_seen: dict[int, tuple["weakref.ref[torch.Tensor]", int]] = {}


@dataclass(eq=False)
class Filling:
    """The first BatchNorm module of a copy, as it is at the copy's evaluations."""

    mean: "weakref.ref[torch.Tensor]"
    weight: "weakref.ref[torch.Tensor]"  # the copy's first parameter
    trained: int  # the identity of what stands for the trained module here
    version: int  # of the weight, at first
    first: Any  # checksum of the mean, on its device
    last: Any = None  # at the last evaluation that was looked at
    looked: int = -1  # the weight's version at the last evaluation that was looked at
    evaluated: int = 0  # evaluations that were looked at
    writes: int = 0  # to the weight, until the last of them
    filled: bool = False  # it was in training mode itself

    def evaluate(self, seen: bool) -> None:
        """The copy is being evaluated."""
        self.filled = seen
        mean, weight = self.mean(), self.weight()
        if seen or mean is None or weight is None or self.trained not in _seen or version_of(weight) == self.looked:
            return
        self.looked = version_of(weight)
        self.evaluated += 1
        self.writes = self.looked - self.version
        with torch.no_grad():
            self.last = checksum([mean])


_awaited: dict[int, Filling] = {}


def awaited(key: torch.Tensor | None) -> bool:
    """Whether the evaluation of this module is of interest."""
    return id(key) in _awaited


def awaiting(copy: nn.Module, trained: nn.Module) -> Filling | None:
    """Wait for evaluations of a copy with running statistics."""
    pairs = [
        (mine, its)
        for mine, its in zip(copy.modules(), trained.modules(), strict=False)
        if isinstance(mine, _KINDS) and isinstance(its, _KINDS)
    ]
    weight = next(iter(copy.parameters()), None)
    mean = pairs[0][0].running_mean if pairs else None
    if weight is None or type(mean) is not torch.Tensor or mean.is_meta:
        return None
    mine, its = pairs[0]
    key = mean if mine.weight is None else mine.weight
    of = its.running_mean if its.weight is None else its.weight
    with torch.no_grad():
        first = checksum([mean])
    identity = id(key)
    weak = weakref.ref(mean, lambda _: _awaited.pop(identity, None))
    filling = Filling(weak, weakref.ref(weight), id(of), version_of(weight), first)
    _awaited[identity] = filling
    return filling


def plain_average(copy: nn.Module, modules: Iterable[nn.Module]) -> bool:
    """Whether torch's AveragedModel holds the copy, averages all alike, and leaves statistics to update_bn."""
    holder = next((one for one in modules if type(one) is AveragedModel and one.module is copy), None)
    return holder is not None and not holder.use_buffers and holder.avg_fn is None and holder.multi_avg_fn is None


def known(key: torch.Tensor | None) -> bool:
    """Whether the module was seen, or cannot be told from others."""
    return key is None or id(key) in _seen


def note(key: torch.Tensor, input: torch.Tensor | None) -> None:
    """Remember the values per channel of `input`, [batch, channels, *positions]; None: it evaluates."""
    identity = id(key)
    if input is None:
        _awaited[identity].evaluate(identity in _seen)
        return
    count = input.numel() // max(1, int(input.shape[1]))
    _seen[identity] = (weakref.ref(key, lambda _: _seen.pop(identity, None)), count)


def values_of(module: nn.Module) -> int:
    """Values per channel of a BatchNorm module; 0 when it was not seen in training."""
    # Not asked for as attributes, which may run the script's code.
    held = dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))
    weight = held.get("weight")
    entry = _seen.get(id(held.get("running_mean") if weight is None else weight))
    return entry[1] if entry is not None else 0
