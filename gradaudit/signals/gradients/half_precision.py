"""The gradients of a run on the number line of float16: what it rounds to zero, and what it keeps few bits of."""

import math
from collections.abc import Callable
from typing import Literal

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats, Integers
from gradaudit.training import Training, signal

# Four bins to the octave, as in table `histograms`; what lies outside is counted in the first and the last.
OCTAVE = 4
LOWEST, HIGHEST = -4 * 40, 4 * 16
SMALLEST = -4 * 24  # 2**-24 is float16's smallest number above zero
NORMAL = -4 * 14  # below 2**-14 it keeps fewer than 11 bits
THREE_BITS = -4 * 21  # below 2**-21 there are seven numbers on each side of zero
# Multiples 1, 2, 3 and 4 of 2**-24 fall into these bins, and none into those between them.
_TAKEN = numpy.asarray([0, 4, 6, 8]) + SMALLEST - LOWEST
_EMPTY = numpy.asarray([1, 2, 3, 5, 7]) + SMALLEST - LOWEST
_ENOUGH = 20  # elements in those bins; of a smooth distribution half would fall between: 1 in a million by chance


class Gradients(msgspec.Struct, frozen=True, eq=False):
    """Histograms of gradients before they were unscaled, pooled over some of the steps at which they were taken."""

    names: list[str]  # [tensors]
    counts: Integers  # [tensors, bins from LOWEST on] elements by absolute value
    zeros: Integers  # [tensors] elements exactly zero
    steps: Integers  # [steps] global steps
    scale: float  # the GradScaler's, the smallest of these steps; 1 without one
    torn: int = 0  # histograms left out: their sides of zero have different numbers of bins

    def below(self, limit: int) -> Floats:
        """[tensors]: the share of the elements other than zero that lies below bin `limit`; NaN without any."""
        some = self.counts.sum(axis=1)
        few = self.counts[:, : limit - LOWEST].sum(axis=1)
        return numpy.where(some > 0, few / numpy.where(some > 0, some, 1), numpy.nan)

    def share_below(self, limit: int) -> float:
        """The same of all tensors together; there must be an element other than zero."""
        pooled = self.counts.sum(axis=0)
        return float(pooled[: limit - LOWEST].sum() / pooled.sum())

    @property
    def doublings(self) -> int:
        """By how many powers of two 99 % of the elements come above 2**-14, where they keep all bits; at least 1."""
        cumulative = numpy.cumsum(self.counts.sum(axis=0))
        hundredth = int(numpy.searchsorted(cumulative, 0.01 * cumulative[-1])) + LOWEST  # bin below which 1 % lies
        return max(1, -(-(NORMAL - hundredth) // OCTAVE))

    @property
    def rounded(self) -> bool:
        """Whether the smallest elements are whole multiples of 2**-24, as only float16 leaves them."""
        pooled = self.counts.sum(axis=0)
        between = pooled[_EMPTY].sum() + pooled[: SMALLEST - LOWEST].sum()
        return bool(pooled[_TAKEN].sum() >= _ENOUGH and between == 0)


class HalfPrecision(msgspec.Struct, frozen=True):
    """What says that gradients are computed in float16."""

    sign: Literal["parameters", "multiples of 2**-24", "GradScaler"]
    parameters: tuple[str, ...] = ()  # names of those that are float16
    scaler: bool = False  # a GradScaler was seen

    @property
    def proven(self) -> bool:
        """Whether it is sure: a GradScaler left on under bfloat16 scales what needs no scale."""
        return self.sign != "GradScaler"


def half_precision(training: Training) -> HalfPrecision | None:
    """How one knows that gradients are computed in float16; None where nothing says so."""
    half = tuple(t.name for t in training.tensors if t.optimizer == training.id and t.dtype == "float16")
    if half:
        return HalfPrecision("parameters", half)
    # One that skips steps scales the loss, though its scale may not have been recorded.
    scaler = scale_is_known(training) or bool(training.steps["skipped"].fillna(False).to_numpy(dtype=bool).any())
    seen = gradients(training)
    if seen is not None and seen.rounded:
        return HalfPrecision("multiples of 2**-24", scaler=scaler)
    return HalfPrecision("GradScaler", scaler=True) if scaler else None


def scale_is_known(training: Training) -> bool:
    """Whether the scale of a GradScaler was recorded."""
    return bool(numpy.isfinite(training.steps["amp_scale"].to_numpy(dtype=float)).any())


@signal
def gradients(training: Training) -> Gradients | None:
    """The gradient histograms of one optimizer's tensors, embedding tables left out, of the later half of the steps."""
    return _gathered(training, lambda steps: steps[len(steps) // 2 :])


@signal
def first_gradients(training: Training) -> Gradients | None:
    """The same of the first step alone at which histograms were taken."""
    return _gathered(training, lambda steps: steps[:1])


def _gathered(training: Training, chosen: Callable[[Integers], Integers]) -> Gradients | None:
    frame = training.run.histograms
    frame = frame[(frame["kind"] == "gradient") & (frame["optimizer"] == training.id)]
    tensors = [t for t in training.tensors if t.optimizer == training.id and t.role != "embedding"]
    place = {tensor.id: index for index, tensor in enumerate(tensors)}
    frame = frame[frame["tensor"].isin(list(place))]
    if frame.empty:
        return None
    own = training.steps.set_index("step")
    steps = chosen(numpy.intersect1d(frame["step"], own.index))
    if not len(steps):
        return None
    scales = own["amp_scale"].reindex(steps).fillna(1.0)
    scales = scales.where((scales > 0) & numpy.isfinite(scales), 1.0)
    counts = numpy.zeros((len(tensors), HIGHEST - LOWEST), dtype=numpy.int64)
    zeros = numpy.zeros(len(tensors), dtype=numpy.int64)
    torn = 0
    later = frame[frame["step"].isin(steps)]
    shifts = (4 * numpy.log2(scales)).round().astype(int)
    for tensor, step, lowest, none, positive, negative in zip(
        *(later[name] for name in ("tensor", "step", "lowest", "zeros", "positive", "negative")), strict=True
    ):
        if len(positive) != len(negative) or not (math.isfinite(lowest) and math.isfinite(none)):
            torn += 1
            continue
        both = numpy.asarray(positive, dtype=numpy.int64) + numpy.asarray(negative, dtype=numpy.int64)
        bins = int(lowest) + int(shifts[step]) - LOWEST + numpy.arange(len(both))
        numpy.add.at(counts[place[tensor]], numpy.clip(bins, 0, counts.shape[1] - 1), both)
        zeros[place[tensor]] += int(none)
    return Gradients(
        names=[tensor.name for tensor in tensors],
        counts=counts,
        zeros=zeros,
        steps=own["global_step"].reindex(steps).dropna().to_numpy(dtype=numpy.int64),
        scale=float(scales.min()),
        torn=torn,
    )
