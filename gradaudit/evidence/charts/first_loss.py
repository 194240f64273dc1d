"""The first losses of a run beside what an untrained model should have."""

import math

import numpy

from gradaudit.chart_data import Lines, Mark
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.wording import plural
from gradaudit.signals.loss.first_loss import CLOSE
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.smoothing import wide

_SHOWN = 50  # steps


def first_losses(loss: TrainingLoss, label: str, level: float) -> Lines:
    """The first steps, with the objective where it is another number, against the level where a model should start."""
    shown = slice(0, _SHOWN)
    series = [plain("mean loss per target", loss.steps[shown], loss.values[shown])]
    compared = loss.objective[shown]
    if len(compared) and abs(compared[0] - loss.first) > CLOSE * abs(loss.first):
        series.append(plain("objective (the differentiated loss)", loss.steps[shown], compared, role="flagged"))
    values = numpy.concatenate([loss.values[shown], compared, [level or math.nan]])
    return Lines(
        title=f"The first {plural(min(len(loss.steps), _SHOWN), 'step')}",
        caption=f"An untrained model should start at the line {label}; the distance of the first point from "
        "it is what was judged.",
        x_label="step",
        y_label="loss",
        series=series,
        marks=[Mark(label=label, y=level, role="reference")],
        log=wide(values),
    )
