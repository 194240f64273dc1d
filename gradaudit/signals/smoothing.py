"""A noisy series as a smooth line, which jumps where the series does and nowhere else."""

from typing import Any

import numpy

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
Places = numpy.ndarray[Any, numpy.dtype[numpy.int64]]

NEAR = 9  # values, odd: a spike of half as many is the running median's
# Times the usual distance of neighbours: of steady noise, the medians of three values differ by that distance.
JUMP = 7.0
STEEP = 2.0  # on a slope they differ by as much everywhere
ALMOST = 0.65  # of a jump lies within three values; of a slope a third
AROUND = 32  # values that tell what is usual


def wide(values: Any) -> bool:
    """Whether positive values span more than two decades, so that a linear axis would flatten most of them."""
    finite = numpy.asarray(values, dtype=float)
    finite = finite[numpy.isfinite(finite)]
    return bool(len(finite)) and float(finite.min()) > 0 and float(finite.max()) > 100 * float(finite.min())


def smooth(values: Floats, window: int = 41, *, log: bool | None = None) -> Floats:
    """Centred running median, then mean, of `values`; gaps (NaN, Inf) stay gaps.

    Centred, since a causal average lags and puts the training loss above the validation loss. At the start
    the window shrinks on both sides alike, since a one-sided one would pull the first loss down; at the end it
    does not, since a window of one step would show the noise of the last step. Where the values become NaN for good it
    does: a loss that diverged ends where it ended, and not where it was some steps before.

    Values over decades (`log`; None: those that are `wide`) are smoothed as logarithms, for one spike outweighs the
    plain mean of all its neighbours. Zeros have none: they stay what they are. Nothing is averaged across a jump, so
    that nothing rises before what made it rise; and only at a jump of the values does the line have one.
    """
    count = len(values)
    log = wide(values) if log is None else log
    known = numpy.isfinite(values) & ((values > 0) | (not log))
    finite = numpy.where(known, values, numpy.nan)
    window = max(1, min(window, count // 8))
    finite = numpy.log10(finite) if log else finite
    stretches = _between_jumps(finite)
    middle = _running_median(finite, min(NEAR, window))
    line = numpy.where(known, _mean(middle, window, stretches), numpy.nan)
    # The short mean rounds corners.
    line = numpy.where(known, _mean(line, min(5, window), stretches), numpy.nan)
    return numpy.where(known, 10.0**line if log else line, numpy.where(numpy.isfinite(values), values, numpy.nan))


def _mean(values: Floats, window: int, stretches: Places) -> Floats:
    """Centred mean of the values in the window that are of one stretch with its centre."""
    count = len(values)
    place = numpy.arange(count)
    end = _end(values)
    before = numpy.minimum(window // 2, place)
    after = numpy.minimum(before, count - 1 - place)
    if end < count:
        before = after = numpy.maximum(0, numpy.minimum(after, end - 1 - place))
    sums, counts = numpy.zeros(count), numpy.zeros(count)
    for shift in range(-min(window // 2, count - 1), min(window // 2, count - 1) + 1):
        to, of = slice(max(0, -shift), count - max(0, shift)), slice(max(0, shift), count - max(0, -shift))
        reach = after[to] >= shift if shift > 0 else before[to] >= -shift
        counted = reach & numpy.isfinite(values[of]) & (stretches[to] == stretches[of])
        sums[to] += numpy.where(counted, values[of], 0.0)
        counts[to] += counted
    with numpy.errstate(invalid="ignore", divide="ignore"):
        return numpy.where(counts > 0, sums / counts, values)


def _between_jumps(values: Floats) -> Places:
    """For each value the number of its stretch: another one begins where the level jumps.

    That is where the medians of `NEAR` values on both sides differ by more than `JUMP` times what neighbours do, by
    more than `STEEP` times what they do farther on in the same direction, and where most of it lies within three.
    """
    known = numpy.flatnonzero(numpy.isfinite(values))
    stretches = numpy.zeros(len(values), dtype=numpy.int64)
    if len(known) < NEAR:
        return stretches
    finite = values[known]
    with numpy.errstate(over="ignore", invalid="ignore"):
        far, near = (_step_of_medians(finite, width) for width in (NEAR, NEAR // 3))
        earlier = numpy.concatenate([numpy.zeros(NEAR), far[:-NEAR]])
        later = numpy.concatenate([far[NEAR:], numpy.zeros(NEAR)])
        slope = numpy.maximum(*(numpy.where(far * step > 0, numpy.abs(step), 0.0) for step in (earlier, later)))
        far, near = numpy.abs(far), numpy.abs(near)
        jumps = (far > JUMP * _usual_step(finite)) & (near > ALMOST * far) & (far > STEEP * slope)
    # Around a jump several places differ as much; it is where two neighbours differ most.
    starts = numpy.flatnonzero(jumps & ~numpy.concatenate([[False], jumps[:-1]]))
    ends = numpy.flatnonzero(jumps & ~numpy.concatenate([jumps[1:], [False]])) + 1
    for first, last in zip(starts.tolist(), ends.tolist(), strict=True):
        apart = numpy.abs(finite[first:last] - finite[first - 1 : last - 1])
        at = int(numpy.argmax(apart))
        # How steep it was before the start nobody knows: a jump there is one of two neighbours.
        if first >= NEAR or apart[at] > ALMOST * far[first + at]:
            stretches[known[first + at] :] += 1
    return stretches


def _step_of_medians(values: Floats, width: int) -> Floats:
    """For each value, how far the median of `width` values from it on lies above that of as many before it."""
    import pandas

    trailing = pandas.Series(values).rolling(width, min_periods=1).median().to_numpy(dtype=numpy.float64)
    following = pandas.Series(values[::-1]).rolling(width, min_periods=1).median().to_numpy(dtype=numpy.float64)[::-1]
    return numpy.concatenate([[0.0], following[1:] - trailing[:-1]])


def _usual_step(values: Floats) -> Floats:
    """The median distance of neighbours around each value."""
    apart = numpy.abs(numpy.diff(values, prepend=values[:1]))
    parts = numpy.array_split(apart, max(1, len(apart) // AROUND))
    return numpy.repeat([numpy.median(part) for part in parts], [len(part) for part in parts])


def _end(values: Floats) -> int:
    """How many values there are up to the last finite one."""
    known = numpy.flatnonzero(numpy.isfinite(values))
    return int(known[-1]) + 1 if len(known) else len(values)


def _running_median(values: Floats, window: int) -> Floats:
    """Centred; at the start, and before values that are NaN for good, the window shrinks on both sides alike."""
    import pandas

    half = window // 2
    median = pandas.Series(values).rolling(2 * half + 1, center=True, min_periods=1).median().to_numpy(copy=True)
    end = _end(values)
    starts = [(place, values[: 2 * place + 1]) for place in range(min(half, len(values) // 2))]
    tail = range(max(end - half, end // 2), end) if end < len(values) else ()
    for place, part in [*starts, *((place, values[2 * place + 1 - end : end]) for place in tail)]:
        part = part[numpy.isfinite(part)]
        median[place] = numpy.median(part) if len(part) else numpy.nan
    median[end:] = numpy.nan
    return numpy.asarray(median, dtype=numpy.float64)
