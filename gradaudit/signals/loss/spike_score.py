"""How spiky a series is, in one number: the share of its values far above those before them (OLMo 2's spike score)."""

import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats
from gradaudit.training import signal

# OLMo 2 (arXiv 2501.00656, section 3): seven standard deviations, of the last 1,000 values.
DEVIATIONS = 7.0
WINDOW = 1000
LEAST = 128  # values before it: what OLMo-core's SkipStepOptimizer asks for


@signal
def loss_spike_score(run: Run) -> float | None:
    """The share of training losses, of all optimizers, that are spikes; None where too few are known."""
    return _pooled([training_loss(training).values for training in run.trainings])


@signal
def norm_spike_score(run: Run) -> float | None:
    """The same of the norms of the whole gradient before clipping, at the steps at which they are known."""
    return _pooled([training.steps["gradient_norm"].to_numpy(dtype=float) for training in run.trainings])


def _pooled(series: list[Floats]) -> float | None:
    judged = [found for values in series if len(found := spikes(values))]
    return float(numpy.concatenate(judged).mean()) if judged else None


def spikes(values: Floats) -> numpy.ndarray[tuple[int], numpy.dtype[numpy.bool_]]:
    """[finite values but the first `LEAST`]: whether each lies `DEVIATIONS` above the mean of those before it."""
    values = values[numpy.isfinite(values)]
    if len(values) <= LEAST:
        return numpy.zeros(0, dtype=bool)
    count, mean, squares = _before(values)
    # A rounding error apart is no spike: of a constant all deviations are such.
    scatter = numpy.maximum(numpy.sqrt(squares / count), 1e-6 * numpy.abs(mean))
    return numpy.asarray(values[LEAST:] >= mean + DEVIATIONS * scatter)


def _before(values: Floats) -> tuple[Floats, Floats, Floats]:
    """[values but the first `LEAST`]: number, mean and summed squared deviations of the `WINDOW` values before each.

    Put together from the end of one block of `WINDOW` values and the beginning of the next, so that nothing is ever
    subtracted: what an outlier of 1e15 has rounded away does not come back when it leaves the window.
    """
    blocks = -(-len(values) // WINDOW)
    padded = numpy.full(blocks * WINDOW, numpy.nan)
    padded[: len(values)] = values
    table = padded.reshape(blocks, WINDOW)
    # Without `i` values at its beginning a block gives the older part of a window, its first `i` the newer one.
    newer = [part[:, :-1] for part in _running(table)]
    older = [part[:, ::-1] for part in _running(table[:, ::-1])]
    older = [numpy.vstack([numpy.zeros((1, WINDOW + 1)), part[:-1]])[:, :-1] for part in older]
    (n, a, s), (m, b, t) = older, newer
    with numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
        total = n + m
        mean = numpy.where(total > 0, (n * a + m * b) / total, 0.0)
        squares = s + t + numpy.where(total > 0, (a - b) ** 2 * n * m / total, 0.0)
    kept = slice(LEAST, len(values))
    return total.ravel()[kept], mean.ravel()[kept], squares.ravel()[kept]


def _running(table: Floats) -> tuple[Floats, Floats, Floats]:
    """[blocks, WINDOW + 1]: number, mean and summed squared deviations of the first 0, 1, 2, ... values of a block."""
    count, mean, squares = (numpy.zeros((len(table), table.shape[1] + 1)) for _ in range(3))
    with numpy.errstate(over="ignore", invalid="ignore"):
        for at, column in enumerate(table.T):
            there = numpy.isfinite(column)
            apart = numpy.where(there, column - mean[:, at], 0.0)
            count[:, at + 1] = count[:, at] + there
            mean[:, at + 1] = mean[:, at] + apart / numpy.maximum(count[:, at + 1], 1)
            squares[:, at + 1] = squares[:, at] + apart * numpy.where(there, column - mean[:, at + 1], 0.0)
    return count, mean, squares
