"""What a loss on the CPU says of itself and its targets, in a few numpy calls: torch's cost ten times as much there."""

from typing import Any, NamedTuple

import numpy
import torch

from gradaudit.record.internals import tracing
from gradaudit.schema import LossFacts

_READABLE = (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8)  # by numpy, without a copy


class HostLoss(NamedTuple):
    """One call of a loss function; `labels` counts the valid targets of each class up to the greatest one seen."""

    mean: float  # loss per valid target
    valid: int
    ignored: int
    targets: Any  # [elements]
    labels: Any = None


def value_of(value: torch.Tensor) -> float | None:
    """The one element of a tensor on the CPU; None on a device, where reading it would wait, and in a trace."""
    if value.is_cpu and value.numel() == 1 and not tracing():
        return float(value.item())
    return None


def look(
    facts: LossFacts, result: torch.Tensor, input: torch.Tensor, target: torch.Tensor, weighted: bool
) -> HostLoss | None:
    """Read a loss and its targets; None where that is not simple, or not on the CPU."""
    value = value_of(result)
    mean = facts.reduction == "mean"
    if value is None or not (mean or (facts.reduction == "sum" and not weighted)):
        return None
    if type(target) is not torch.Tensor or not target.is_cpu or target.dtype not in _READABLE:
        return None
    targets = (target.detach() if target.requires_grad else target).numpy()
    if targets.ndim != 1:
        targets = targets.reshape(-1)
    if facts.classes and not facts.soft_targets:
        ignored, labels = _labels(targets, facts.ignore_index, facts.classes)
        valid = len(targets) - ignored
    else:
        valid, ignored, labels = input.numel() // max(1, facts.classes), 0, None
    return HostLoss(value if mean else value / valid if valid else float("nan"), valid, ignored, targets, labels)


def _labels(targets: Any, ignore: int | None, classes: int) -> tuple[int, Any]:
    """(ignored targets, [classes] counts of the others); labels outside the classes are not counted."""
    ignored = 0
    # The methods min() and max() go through Python, and take twice as long.
    if len(targets) and not (numpy.minimum.reduce(targets) >= 0 and numpy.maximum.reduce(targets) < classes):
        # A sentinel such as 2**63 - 1 would make the counts as long as itself.
        if ignore is not None:
            ignored = int(numpy.count_nonzero(targets == ignore))
        targets = targets[(targets >= 0) & (targets < classes)]
        labels = numpy.bincount(targets)
        if ignore is not None and 0 <= ignore < len(labels):
            labels[ignore] = 0
        return ignored, labels
    labels = numpy.bincount(targets)
    if ignore is not None and 0 <= ignore < len(labels):
        ignored, labels[ignore] = int(labels[ignore]), 0
    return ignored, labels
