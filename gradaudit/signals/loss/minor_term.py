"""Whether the loss that was called is a small term of what is minimised, so that its curve is not the training's."""

import math
from typing import Literal

import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.loss.objective import SAME, factor
from gradaudit.signals.order_statistics import Integers
from gradaudit.training import Training, signal

MINOR = 0.5  # of the objective: the other terms are more than the loss that was called


@signal
def minor_share(training: Training) -> float | None:
    """The share of the called loss in the objective, where that is small; None where it is not, or not known.

    The weight of the loss is not recorded. The changes of both from one step to the next tell it: what the objective
    changes by where the loss changes by one. Terms that change together make it too large rather than too small.
    """
    frame = training.steps
    mean_loss = frame["mean_loss"].to_numpy(dtype=float)
    times = factor(frame, mean_loss)
    if times is None or times.range <= SAME or _logged(training.run, frame["loss"].to_numpy()):
        return None
    objective, mean = frame["objective"].to_numpy(dtype=float)[times.places], mean_loss[times.places]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        loss = objective / times.values  # in the unit that the objective follows best: a sum over the batch, say
        size = numpy.abs(objective)
        changes = numpy.diff(loss)
        weight = max(0.0, float(changes @ numpy.diff(objective) / (changes @ changes)))
        shares = [float(numpy.median(numpy.abs(part) / size)) for part in (mean, weight * loss)]
    share = max(shares)
    return share if math.isfinite(share) and share < MINOR else None


def _logged(run: Run, losses: Integers) -> bool:
    """Whether the script named its loss itself: then that is what it wants to see, on whatever scale."""
    named = {facts.id for facts in run.meta.losses if facts.function == "logged"}
    return bool(numpy.isin(losses, list(named)).any())


def shown_loss(training: Training) -> Literal["mean_loss", "objective"]:
    """The column of `steps` that shows how this optimizer's training goes."""
    seen = numpy.isfinite(training.steps["mean_loss"].to_numpy(dtype=float)).any()
    return "mean_loss" if seen and minor_share(training) is None else "objective"
