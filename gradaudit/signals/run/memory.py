"""The course of memory after its start: where it begins and ends, and how fast it grows in each third."""

import math
from dataclasses import dataclass

import numpy

from gradaudit.reading.run import Run

MEGABYTE = 1e6
_FEWEST = 6  # samples
_START = 0.1  # of the steps: allocators and caches fill up
_SOON = 16  # steps


@dataclass(frozen=True)
class MemoryCourse:
    """Memory of one kind, in bytes, once the start is over."""

    kind: str  # host | device
    first_step: int
    last_step: int
    first: float
    last: float
    rates: tuple[float, float, float]  # bytes a step, in each third of the steps

    @property
    def per_step(self) -> float:
        """Bytes a step over all of it."""
        return (self.last - self.first) / max(1, self.last_step - self.first_step)


def memory_course(run: Run, kind: str) -> MemoryCourse | None:
    """The course after the first epoch, where the run has another, and a tenth of the run; None of too few samples."""
    samples = [(one.step, getattr(one, kind)) for one in run.meta.schedules.memory if getattr(one, kind) > 0]
    if not samples:
        return None
    steps, values = numpy.asarray(samples, dtype=numpy.float64).T
    batches = int(run.steps["micro_steps"].sum())
    epoch = run.meta.data.batches_per_epoch * len(run.steps) / max(1, batches)  # in steps
    begin = max(_SOON, _START * steps[-1], epoch if 2 * epoch <= steps[-1] else 0)
    used = steps >= begin
    if used.sum() < _FEWEST:
        return None
    steps, values = steps[used], values[used]
    at = numpy.linspace(steps[0], steps[-1], 4)
    rates = numpy.diff(numpy.interp(at, steps, values)) / numpy.diff(at)
    if not math.isfinite(float(rates.sum())):
        return None
    low, middle, high = (float(rate) for rate in rates)
    return MemoryCourse(kind, int(steps[0]), int(steps[-1]), float(values[0]), float(values[-1]), (low, middle, high))
