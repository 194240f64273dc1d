"""The rank whose loss lies farthest from the others', while all hold the same weights."""

import msgspec
import numpy

from gradaudit.signals.ranks.replicas import SideBySide, against_others

FEW = 20  # steps: fewer say nothing about a rank's gradients or data


class Skew(msgspec.Struct, frozen=True, eq=False):
    """One rank's loss beside the others' over the last half of the run."""

    losses: SideBySide
    index: int  # of the rank, among those of `losses`
    standard_errors: float  # how far its mean lies from the others'
    distance: float  # the same over the first loss, a fraction
    own: float  # mean loss
    others: float  # mean loss of the other ranks

    @property
    def rank(self) -> int:
        """The number of the rank."""
        return int(self.losses.ranks[self.index])

    @property
    def first(self) -> int:
        """The global step from which on it is judged."""
        return int(self.losses.steps[len(self.losses.steps) // 2])

    @property
    def last(self) -> int:
        """The last global step."""
        return int(self.losses.steps[-1])


def skew(losses: SideBySide) -> Skew | None:
    """None where fewer than `FEW` steps of the last half have the loss of every rank."""
    complete = losses.values[numpy.isfinite(losses.values).all(axis=1)]
    tail = complete[len(complete) // 2 :]
    if len(tail) < FEW:
        return None
    first = abs(float(complete[0].mean()))
    away = against_others(tail)
    error = away.std(axis=0) / numpy.sqrt(len(tail))
    with numpy.errstate(divide="ignore", invalid="ignore"):
        errors = numpy.nan_to_num(numpy.abs(away.mean(axis=0)) / error)
    far = int(numpy.argmax(away.mean(axis=0)))
    half = losses.values[len(losses.values) // 2 :]
    return Skew(
        losses=losses,
        index=far,
        standard_errors=float(errors[far]),
        distance=float(abs(away.mean(axis=0)[far])) / first if first else 0.0,
        own=float(numpy.nanmean(half[:, far])),
        others=float(numpy.nanmean(numpy.delete(half, far, axis=1))),
    )
