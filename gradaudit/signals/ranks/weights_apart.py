"""Ranks that should hold the same weights, and do not: since when, and which of them."""

import msgspec
import numpy

from gradaudit.signals.ranks.replicas import Checksums


class WeightsApart(msgspec.Struct, frozen=True, eq=False):
    """The checksums of the weights differ between ranks."""

    sums: Checksums
    step: int  # the first global step at which they are seen to differ
    equal_at: int | None  # the one before it at which they were seen to be equal; None where they never were
    minority: list[int]  # indices of the ranks that stand against a majority at `step`; none without a majority

    @property
    def periodic(self) -> bool:
        """Whether they are equal again at the last step, as with periodic averaging."""
        return not self.sums.differ[-1]

    @property
    def earliest(self) -> int:
        """The first global step at which they may have parted: after the last at which they were seen to be equal."""
        return self.step if self.equal_at is None else self.equal_at + 1

    @property
    def last(self) -> int:
        """The last global step at which the weights were summed."""
        return int(self.sums.steps[-1])


def weights_apart(sums: Checksums) -> WeightsApart | None:
    """None where the weights are equal at every step at which they were summed."""
    if not sums.differ.any():
        return None
    first = int(numpy.argmax(sums.differ))
    return WeightsApart(
        sums=sums,
        step=int(sums.steps[first]),
        equal_at=int(sums.steps[first - 1]) if first else None,
        minority=_minority(sums, first),
    )


def _minority(sums: Checksums, at: int) -> list[int]:
    row = sums.sums[at]
    taken = row[row != 0]
    values, counts = numpy.unique(taken, return_counts=True)
    if len(taken) < 3 or counts.max() <= len(taken) / 2:
        return []
    return [int(index) for index in numpy.flatnonzero((row != 0) & (row != values[numpy.argmax(counts)]))]
