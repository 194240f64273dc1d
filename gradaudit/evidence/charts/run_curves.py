"""Curves that every report shows beside the loss: the generalisation gap, and how fast the layers change."""

import math
from itertools import pairwise

import numpy

from gradaudit.chart_data import Series
from gradaudit.evidence.charts.reduce import plain, short
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.generalisation import comparison
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.layers.layers import weight_layers, zero_initialised
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, Mask
from gradaudit.signals.updates.ratios import last_half, update_ratio
from gradaudit.training import Training

GAP_TO_EVALUATED = "gap to the training loss as evaluated"
_LEAST_EVALUATIONS = 3
_LEAST_LAYERS = 4
_BUCKETS = 80
_MOST_NAMED = 2


def gap(run: Run) -> list[Series]:
    """Validation minus training loss at each evaluation, as an area over zero; empty where that is not comparable."""
    held_out, losses = validation(run), [training_loss(training) for training in run.trainings]
    if held_out is None or len(held_out.losses) < _LEAST_EVALUATIONS or not losses:
        return []
    train = comparison(run, losses)
    if not train.comparable:
        return []
    apart = held_out.losses - train.at(held_out.steps.astype(float))
    line = plain(
        "gap" if train.running else GAP_TO_EVALUATED, numpy.maximum(held_out.steps, 0), apart, role="evaluation"
    )
    low = [None if y is None else min(0.0, y) for y in line.y]
    high = [None if y is None else max(0.0, y) for y in line.y]
    return [Series(name=line.name, x=line.x, y=line.y, low=low, high=high, role=line.role)]


def update_ratio_steps(run: Run) -> int:
    """How many steps `update_pace` has values of."""
    training = _main_training(run)
    return len(training.matrix("update_norm")) if training is not None else 0


def layer_update_ratios(run: Run, flagged: set[str]) -> list[Series]:
    """Update-to-weight ratio of the weight layers over the steps: ribbons of 90 and 50 %, the median, flagged layers.

    Of the optimizer with the most layers; empty below `_LEAST_LAYERS` of them.
    """
    training = _main_training(run)
    chosen = _with_update_ratio(training) if training is not None else numpy.zeros(0, bool)
    if training is None or chosen.sum() < _LEAST_LAYERS:
        return []
    ratio = update_ratio(training)[:, chosen]
    steps = training.recorded_global_steps.astype(float)
    edges = numpy.linspace(0, len(steps), min(_BUCKETS, len(steps)) + 1).astype(int)
    x = [float(steps[first]) for first in edges[:-1]]
    parts = [ratio[first:last] for first, last in pairwise(edges)]
    levels = [_percentiles(part) for part in parts]
    p5, p25, p50, p75, p95 = ([row[i] for row in levels] for i in range(5))
    found = [
        Series(name="90 % of the layers", x=x, y=[None] * len(x), low=p5, high=p95, role="reference"),
        Series(name="median, and half of the layers", x=x, y=p50, low=p25, high=p75),
    ]
    tensors = [t for t, mine in zip(training.tensors, chosen, strict=True) if mine]
    named = [i for i, tensor in enumerate(tensors) if tensor.name in flagged]
    whole, single = _middle(ratio.ravel()), [_middle(column) for column in ratio.T]
    # Those farthest from the median say most.
    named.sort(key=lambda i: -abs(math.log((single[i] or 1e-30) / whole)) if whole else 0.0)
    for i in named[:_MOST_NAMED]:
        values = [_middle(part[:, i]) for part in parts]
        found.append(Series(name=tensors[i].name, x=x, y=values, role="flagged"))
    return found


def late_update_ratio(run: Run) -> float | None:
    """Median over the layers of `update_pace` of each one's median update-to-weight ratio in the last half."""
    training = _main_training(run)
    if training is None:
        return None
    late = update_ratio(training)[last_half(training)]
    return _percentiles(late[:, _with_update_ratio(training)])[2]


def _main_training(run: Run) -> Training | None:
    """The training with the most weight layers."""
    return max(run.trainings, key=lambda training: int(weight_layers(training).sum()), default=None)


def _with_update_ratio(training: Training) -> Mask:
    """[tensors]: the layers whose update-to-weight ratio is drawn.

    One that started at zero changes by more than it holds.
    """
    return numpy.asarray(weight_layers(training) & ~zero_initialised(training))


def _percentiles(part: Floats) -> list[float | None]:
    """5th, 25th, 50th, 75th and 95th percentile over the layers of their median in a slice of steps."""
    known = [value for column in part.T if (value := _middle(column)) is not None]
    if not known:
        return [None] * 5
    return [short(float(value)) for value in numpy.percentile(known, [5, 25, 50, 75, 95])]


def _middle(values: Floats) -> float | None:
    values = values[numpy.isfinite(values)]
    return short(float(numpy.median(values))) if len(values) else None
