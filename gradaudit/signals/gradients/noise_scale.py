"""The gradient noise scale: the batch size at which the noise of a gradient is as large as the gradient itself."""

import math

import msgspec
import numpy

from gradaudit.signals.gradients.same_batch import same_batch
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.updates.ratios import last_half
from gradaudit.training import Training, signal

LEAST = 100  # pairs of successive gradients: with fewer the standard error is that of the blocks' own noise
BLOCKS = 10  # of successive pairs, whose means are taken as independent: neighbouring pairs share a gradient
T = 2.26  # standard errors: 95 % of Student's t of as many blocks


class NoiseScale(msgspec.Struct, frozen=True):
    """B_simple of McCandlish et al. (arXiv 1812.06162), in what the loss counts as its batch: examples, or tokens."""

    batch: float
    pairs: int
    cosine: float  # mean over the pairs
    error: float  # its standard error

    @property
    def value(self) -> float:
        """The estimate."""
        return _scale(self.batch, self.cosine)

    @property
    def bounds(self) -> tuple[float, float]:
        """Of 95 %; the upper one is infinite where a cosine of 0 is within its uncertainty."""
        low, high = self.cosine + T * self.error, self.cosine - T * self.error
        return _scale(self.batch, min(1.0, low)), _scale(self.batch, high) if high > 0 else math.inf


def _scale(batch: float, cosine: float) -> float:
    return batch * (1 - cosine) / cosine


@signal
def noise_scale(training: Training) -> NoiseScale | None:
    """From the cosine of successive gradients over the last half of the run; None where that does not tell.

    Two gradients of independent batches of B have the true gradient G in common: their cosine is
    |G|^2 / (|G|^2 + tr(S) / B), and the scale tr(S) / |G|^2 is B (1 - cosine) / cosine. The weights move between the
    two, which counts as noise. It needs statistics at successive steps, and batches that differ.
    """
    cosines = successive_cosines(training)
    batch = _batch(training)
    if len(cosines) < LEAST or not batch or same_batch(training):
        return None
    mean = float(cosines.mean())
    means = [float(block.mean()) for block in numpy.array_split(cosines, BLOCKS)]
    error = float(numpy.std(means, ddof=1)) / math.sqrt(BLOCKS)
    return NoiseScale(batch, len(cosines), mean, error) if mean > 0 else None


@signal
def successive_cosines(training: Training) -> Floats:
    """[pairs of recorded steps without one between, last half]: cosine of the whole gradients, put together from those
    of the tensors."""
    norms, cosines = training.matrix("gradient_norm"), training.matrix("gradient_cosine")
    next_to = numpy.diff(training.recorded) == 1
    chosen = next_to & last_half(training)[1:]
    here, before = norms[1:][chosen], norms[:-1][chosen]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        together = numpy.nansum(cosines[1:][chosen] * here * before, axis=1)
        found = together / numpy.sqrt(numpy.nansum(here**2, axis=1) * numpy.nansum(before**2, axis=1))
    return numpy.asarray(found[numpy.isfinite(found)])


def _batch(training: Training) -> float:
    """The size of a typical batch, over all ranks that average their gradients; 0 where it is not known."""
    frame = training.steps
    sizes = frame["batch_size"].to_numpy()[len(frame) // 2 :]
    size = float(numpy.median(sizes[sizes > 0])) if (sizes > 0).any() else float(training.run.meta.data.batch_size)
    if training.run.meta.world_size < 2:
        return size
    copies = 0 if training.run.replicas.empty else int(training.run.replicas["rank"].nunique())
    return size * copies if copies == training.run.meta.world_size else 0.0
