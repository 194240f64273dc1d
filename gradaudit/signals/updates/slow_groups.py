"""Parameter groups whose learning rate is far below the largest."""

import msgspec
import numpy

from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.updates.learning_rates import below, peak_rates
from gradaudit.training import Training


class SlowGroup(msgspec.Struct, frozen=True):
    """The learning rate of a parameter group is far below the largest."""

    group: int
    peak_rate: float
    largest_rate: float  # of all groups
    layers: tuple[str, ...]  # its weight layers
    first: int  # global step
    last: int  # global step


def slow_groups(training: Training, rate: float) -> list[SlowGroup]:
    """The groups with weight layers whose peak learning rate is above 0 and below `rate` of the largest."""
    peaks, steps = peak_rates(training), training.steps["global_step"]
    usable = numpy.flatnonzero(peaks > 0).tolist()
    largest = float(numpy.nan_to_num(peaks).max(initial=0.0))
    layers = [t for t, take in zip(training.tensors, weight_layers(training), strict=True) if take]
    slow = below(peaks, rate, largest)
    members = {group: tuple(tensor.name for tensor in layers if tensor.group == group) for group in usable}
    return [
        SlowGroup(
            group=group,
            peak_rate=float(peaks[group]),
            largest_rate=largest,
            layers=members[group],
            first=int(steps.min()),
            last=int(steps.max()),
        )
        for group in usable
        if len(usable) > 1 and members[group] and slow[group]
    ]
