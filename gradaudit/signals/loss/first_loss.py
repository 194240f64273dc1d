"""What the first loss looks like: the objective beside it, the classes in use and how even the labels are."""

import math
from typing import Literal

import msgspec
import numpy

from gradaudit.schema import LossFacts
from gradaudit.signals.layers.term_groups import term_groups
from gradaudit.signals.loss.objective import SAME, factor
from gradaudit.signals.loss.progress import smoothing_window
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import running_median

CLOSE = 0.05  # relative distance at which a factor is taken for the batch size or the micro-steps
_EXACT = 1e-3  # the same where the steps are too few to tell a factor from further terms


class ObjectiveFactor(msgspec.Struct, frozen=True):
    """How many times the mean loss the first objective is, and the known amount that it matches."""

    times: float
    amount: int
    meaning: Literal["targets", "batch", "micro_steps"]


def objective_factor(loss: TrainingLoss) -> ObjectiveFactor | None:
    """The factor between the first objective and the first mean loss, where it matches what is known of that step.

    None where that is no factor alone: where other terms are minimised, too, a sum over the batch is their weight.
    """
    frame = loss.training.steps
    row = frame.iloc[0]
    if not (loss.first > 0 and math.isfinite(loss.objective[0])):
        return None
    times = float(loss.objective[0]) / loss.first
    throughout = factor(frame, loss.values)
    if throughout is not None and throughout.range > SAME:
        return None
    close = CLOSE if throughout is not None else _EXACT
    # Whatever a second term comes to, the first is summed to be weighed against it.
    several = len(term_groups(loss.training)) > 1
    of_batch = (
        ObjectiveFactor(times, int(row["targets"]), "targets"),
        ObjectiveFactor(times, int(row["batch_size"]), "batch"),
    )
    of_steps = ObjectiveFactor(times, int(row["micro_steps"]), "micro_steps")
    for found in (of_steps,) if several else (*of_batch, of_steps):
        if found.amount > 1 and abs(times / found.amount - 1) < close:
            return found
    return None


def overcome(loss: TrainingLoss, level: float) -> int | None:
    """The index from which on the smoothed loss stays below `level`; None where it ends above it, or is not finite."""
    smooth = running_median(loss.values, smoothing_window(loss))
    above = numpy.flatnonzero(~(smooth < level))
    at = int(above[-1]) + 1 if len(above) else 0
    return at if at < len(smooth) else None


def classes_used(facts: LossFacts, vocabulary: float) -> int:
    """The number of classes in the labels when they are the first few of at least twice as many outputs, else 0."""
    counts = facts.label_counts
    used = sum(amount > 0 for amount in counts)
    first_few = all(amount > 0 for amount in counts[:used])
    return used if 2 <= used <= len(counts) / 2 and len(counts) <= vocabulary and first_few else 0


def unevenness(facts: LossFacts) -> float:
    """How far the most frequent class is from an even share: 0 for even labels, 1 when all are of one class.

    And 1 for a loss that the script writes out itself, whose labels are never seen.
    """
    if facts.function == "log_softmax":
        return 1.0
    counts = facts.label_counts
    if len(counts) < 2 or not any(counts):
        return 0.0
    even = 1 / len(counts)
    return max(0.0, (max(counts) / sum(counts) - even) / (1 - even))
