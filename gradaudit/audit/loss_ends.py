"""How the training loss of each optimizer began and ended."""

import math

import msgspec
import numpy

from gradaudit.chart_data import Value
from gradaudit.evidence.charts.reduce import short
from gradaudit.evidence.words.run_facts import optimizer_name
from gradaudit.reading.run import Run
from gradaudit.signals.gradients.finiteness import bad_losses
from gradaudit.signals.loss.minor_term import shown_loss
from gradaudit.signals.loss.training_loss import final_losses


class Ends(Value, frozen=True, kw_only=True):
    """How the training loss of one optimizer began and ended."""

    optimizer: str  # "" where the run has one training loss
    first: float | None
    last: float | None  # mean of the last 10 % of its steps, at least 5
    last_non_finite: str = ""  # NaN, Inf or -Inf where that is the last loss


def loss_ends(run: Run) -> list[Ends]:
    """For each optimizer that has a training loss of its own: the first loss, and the mean of the last tenth.

    Optimizers that step on one backward pass share its loss, which only the first of them has.
    """
    found = []
    for training in run.trainings:
        steps = training.steps
        loss = steps[shown_loss(training)].to_numpy(dtype=float)
        broken = bad_losses(run, steps)
        seen = loss[numpy.isfinite(loss)]
        if not len(seen) and not (steps["micro_steps"].to_numpy() > 0).any() and len(run.trainings) > 1:
            continue
        tail = final_losses(loss)
        tail = tail[numpy.isfinite(tail)]
        found.append(
            Ends(
                optimizer=optimizer_name(training),
                first=short(float(seen[0])) if len(seen) else None,
                last=short(float(tail.mean())) if len(tail) else None,
                last_non_finite=word(float(loss[-1])) if broken[-1:].any() else "",
            )
        )
    return [msgspec.structs.replace(found[0], optimizer="")] if len(found) == 1 else found


def word(loss: float) -> str:
    """The name of what is no finite number, "" for one."""
    return "" if math.isfinite(loss) else "NaN" if math.isnan(loss) else "Inf" if loss > 0 else "-Inf"
