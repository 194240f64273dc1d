"""How the absolute values of gradients are distributed over powers of two."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy

from gradaudit.training import Training, signal

if TYPE_CHECKING:
    import pandas

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

LOWEST, HIGHEST = -640, 560  # bins of a float32 that is not zero, with room to spare
# IEEE 754 binary16: below 2**-25 a value rounds to zero, below 2**-14 it is subnormal and loses digits.
LOST, SUBNORMAL = -25, -14


class Histograms(Mapping[int, Floats]):
    """The gradients of one step: for each tensor id [bins] counts of |gradient|, from bin `LOWEST` up.

    They are laid out when asked for: thousands of tensors at a hundred steps would take gigabytes.
    """

    def __init__(self, frame: "pandas.DataFrame") -> None:
        self.tensors, self.lowest = frame["tensor"].to_numpy(), frame["lowest"].to_numpy()
        self.sides = [frame[name].to_numpy() for name in ("positive", "negative")]

    def __getitem__(self, tensor: int) -> Floats:
        """The counts of a tensor; raises KeyError."""
        at = int(numpy.searchsorted(self.tensors, tensor))
        if at == len(self.tensors) or self.tensors[at] != tensor:
            raise KeyError(tensor)
        return _dense(self.lowest[at], [side[at] for side in self.sides])

    def __iter__(self) -> Iterator[int]:
        """The tensors."""
        return iter(self.tensors.tolist())

    def __len__(self) -> int:
        """How many tensors."""
        return len(self.tensors)


@signal
def gradient_counts(training: Training) -> dict[int, Histograms]:
    """The histograms of each step that has some."""
    frame = training.run.histograms
    frame = frame[(frame["kind"] == "gradient") & (frame["optimizer"] == training.id)]
    steps, starts = numpy.unique(frame["step"].to_numpy(), return_index=True)
    ends = [*starts[1:].tolist(), len(frame)][: len(starts)]
    return {
        step: Histograms(frame.iloc[start:end])
        for step, start, end in zip(steps.tolist(), starts.tolist(), ends, strict=True)
    }


def _dense(lowest: float, sides: list[Any]) -> Floats:
    counts = numpy.zeros(HIGHEST - LOWEST)
    for values in sides:
        if not len(values) or not math.isfinite(lowest):
            continue
        first = int(lowest) - LOWEST
        values = numpy.asarray(values, dtype=float)
        low, high = max(0, first), min(len(counts), first + len(values))
        if low < high:
            counts[low:high] += values[low - first : high - first]
    return counts


def share_below(counts: Floats, exponent: int) -> float:
    """The share of the non-zero values below 2**`exponent`; NaN without any."""
    total = counts.sum()
    return float(counts[: 4 * exponent - LOWEST].sum() / total) if total else math.nan
