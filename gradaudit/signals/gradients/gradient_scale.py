"""How large every tensor's gradient is at every recorded step, reduced to so many columns."""

from collections.abc import Sequence
from typing import Any

import numpy

from gradaudit.signals.updates.ratios import last_half
from gradaudit.training import Training

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]


class Track:
    """One optimizer's tensors and their gradient RMS per element at each recorded step."""

    def __init__(self, training: Training) -> None:
        self.tensors = training.tensors
        self._training = training
        place = training.steps.set_index("step")["global_step"]
        place = place[~place.index.duplicated(keep="last")].reindex(training.recorded)
        # A damaged part of `steps` may have been left out: then nobody knows where these rows belong.
        self._known = place.notna().to_numpy()
        self.steps = place.to_numpy(dtype=float)[self._known]  # [recorded] global steps
        self.late = last_half(training)[self._known]  # [recorded] whether in the second half of the run
        size = numpy.sqrt([max(1, tensor.elements) for tensor in self.tensors])
        has_grad = self.matrix("has_grad")
        broken = self.matrix("gradient_nan") + self.matrix("gradient_inf")
        self.bad = numpy.nan_to_num(broken) > 0  # [recorded, tensors]
        norm = self.matrix("gradient_norm")
        # A gradient that is None counts as zero: either way the tensor learns nothing at this step.
        norm = numpy.where((has_grad == 0) & ~self.bad, 0.0, norm)
        self.rms = norm / size  # [recorded, tensors]; NaN where not recorded
        with numpy.errstate(divide="ignore"):
            self.log = numpy.where(self.bad, numpy.nan, numpy.log10(self.rms))

    def matrix(self, stat: str) -> Floats:
        """[recorded steps, tensors] of one column of `tensors`."""
        return self._training.matrix(stat)[self._known]

    def reduced(self, borders: Floats) -> tuple[Floats, Floats, Floats]:
        """[columns, tensors] of log10 RMS (median of each column), of "always zero" and of "once not finite".

        A column without a recorded step repeats the one before it: statistics are recorded ever more sparsely.
        """
        columns, count = len(borders) - 1, len(self.tensors)
        log = numpy.full((columns, count), numpy.nan)
        zero, bad = numpy.zeros((columns, count), bool), numpy.zeros((columns, count), bool)
        cuts = numpy.searchsorted(self.steps, borders)
        for column in range(columns):
            a, b = cuts[column], cuts[column + 1]
            if a == b:
                if column and a:
                    log[column], zero[column], bad[column] = log[column - 1], zero[column - 1], bad[column - 1]
                continue
            part = self.log[a:b]
            zero[column] = numpy.isneginf(part).all(axis=0)
            bad[column] = self.bad[a:b].any(axis=0)
            log[column] = median(numpy.where(numpy.isfinite(part), part, numpy.nan))
        return log, zero, bad


def median(values: Floats) -> Floats:
    """[columns]: the median of each column of [rows, columns], NaN left out; NaN where nothing is left.

    As numpy.nanmedian, which takes ten times as long for the few rows of a heatmap's column.
    """
    if not len(values):
        return numpy.full(values.shape[1:], numpy.nan)
    ranked = numpy.sort(values, axis=0)  # NaN comes last
    known = len(values) - numpy.isnan(values).sum(axis=0)
    column = numpy.arange(values.shape[1])
    low, high = ranked[numpy.maximum(known - 1, 0) // 2, column], ranked[known // 2, column]
    return numpy.asarray(numpy.where(low == high, low, (low + high) / 2), dtype=numpy.float64)


def edges(tracks: Sequence[Track], most: int, end: float) -> Floats:
    """Edges of at most `most` columns of equal width, from the first recorded step to `end`."""
    steps = numpy.unique(numpy.concatenate([track.steps for track in tracks]))
    return numpy.linspace(steps[0], max(end, steps[-1] + 1), min(most, len(steps)) + 1)
