"""How much longer steps take as a run goes on."""

import math

import numpy

from gradaudit.reading.run import Run

_QUARTER, _FEWEST = 4, 5  # of the steps; in a quarter


def slowdown(run: Run) -> float:
    """The median seconds of a step in the last quarter of the run over those in the first; NaN where too few are known.

    The first step has none: there was no step before it.
    """
    seconds = run.steps.sort_values("global_step")["seconds"].to_numpy(dtype=float)[1:]
    seconds = seconds[numpy.isfinite(seconds)]
    part = len(seconds) // _QUARTER
    if part < _FEWEST:
        return math.nan
    first, last = (float(numpy.median(each)) for each in (seconds[:part], seconds[-part:]))
    return last / first if first > 0 else math.nan
