"""How widely a loss oscillates around its own trend, and whether it does so more and more."""

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats, quantile, rank_correlation

_SKIPPED = 0.2  # of the run: a loss that starts to learn oscillates as it falls
_PARTS = 8


class Oscillation(msgspec.Struct, frozen=True, eq=False):
    """The last four fifths of a run in eight parts, each around its own straight line."""

    starts: tuple[int, ...]  # [parts] index of the first step of each
    widths: Floats  # [parts] from the 10th to the 90th percentile of the residuals
    trend: float  # rank correlation of the widths with time; NaN where all are equal
    crossings: int  # of their lines, in the last two parts
    fall: float  # mean of the first two parts less that of the last two

    @property
    def early(self) -> float:
        """The mean width of the first two parts."""
        return float(self.widths[:2].mean())

    @property
    def late(self) -> float:
        """The mean width of the last two parts."""
        return float(self.widths[-2:].mean())

    @property
    def growth(self) -> float:
        """How many times as wide it is late as it was early; 1 where it was not at all."""
        return self.late / self.early if self.early > 0 else 1.0

    def since(self, growth: float) -> int:
        """The index of the step from which on all parts are `growth` times as wide as early, or the last two begin."""
        narrow = numpy.flatnonzero(self.widths < growth * self.early)
        return self.starts[min(int(narrow[-1]) + 1, len(self.starts) - 2) if len(narrow) else 0]


def oscillation(values: Floats) -> Oscillation:
    """The oscillation of finite losses [steps], of at least 40 steps."""
    first = int(_SKIPPED * len(values))
    parts = numpy.array_split(values[first:], _PARTS)
    left = [_around_line(part) for part in parts]
    widths = numpy.asarray([_width(part) for part in left])
    sizes = [len(part) for part in parts]
    return Oscillation(
        starts=tuple(first + sum(sizes[:part]) for part in range(_PARTS)),
        widths=widths,
        trend=rank_correlation(widths),
        crossings=sum(_crossings(part) for part in left[-2:]),
        fall=float(numpy.concatenate(parts[:2]).mean() - numpy.concatenate(parts[-2:]).mean()),
    )


def _around_line(part: Floats) -> Floats:
    """`part` less the straight line through it."""
    steps = numpy.arange(len(part)) - (len(part) - 1) / 2
    flat = part - part.mean()
    slope = (flat * steps).sum() / (steps**2).sum()
    return numpy.asarray(flat - slope * steps, dtype=numpy.float64)


def _width(left: Floats) -> float:
    low, high = (float(quantile(left.reshape(-1, 1), share)[0]) for share in (0.1, 0.9))
    return high - low


def _crossings(left: Floats) -> int:
    """How often it crosses its line."""
    return int((numpy.diff(numpy.sign(left)) != 0).sum())
