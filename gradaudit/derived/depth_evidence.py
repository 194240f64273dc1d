"""What vanishing and exploding gradients show: the gradient of every layer, and the loss."""

import math

import numpy

from gradaudit.derived.depth_slope import Slope
from gradaudit.derived.evidence import MOST_DOTS
from gradaudit.derived.finiteness import breakdown
from gradaudit.derived.progress import NO_BETTER, climb, constant_level, divergence, not_learning
from gradaudit.derived.reduce import short
from gradaudit.derived.training_loss import training_loss
from gradaudit.derived.wording import number
from gradaudit.findings import Dot, Dots
from gradaudit.reading.run import Run

_LEARNED = 0.05  # of the first loss: less is what batches differ by
_LOST = 0.5  # of what was gained


def depth_dots(run: Run, optimizer: int, slope: Slope, flagged: set[str]) -> Dots:
    """One dot a weight layer, in depth order: its gradient norm over the first steps."""
    tensors = run.tensors_of(optimizer)
    dots = [
        Dot(
            label=tensors[int(column)].name,
            value=short(10 ** float(value)),
            group=tensors[int(column)].role,
            flagged=tensors[int(column)].name in flagged,
        )
        for column, value in zip(slope.columns, slope.early, strict=True)
    ]
    every = math.ceil(len(dots) / MOST_DOTS)
    return Dots(
        title="Gradient norm by layer, first ten steps",
        caption="From the input at the top to the output at the bottom; each decade is a factor of ten. Healthy layers "
        "stand within one or two decades.",
        x_label="gradient norm",
        dots=dots[::every],
    )


def learned_nothing(run: Run, optimizer: int) -> bool:
    """Whether a loss whose shape means something ends where it began, or no better than a constant predictor's."""
    loss = training_loss(run, optimizer)
    if loss.unjudged or len(loss.values) < 100:
        return False
    return not_learning(run, optimizer) or loss.improvement < _LEARNED


def fate(run: Run, optimizer: int) -> str:
    """What became of a loss of which `learned_nothing` holds, in a sentence that no other finding contradicts."""
    loss = training_loss(run, optimizer)
    risen = climb(loss) if numpy.isfinite(loss.values).all() else None
    # What falls from a loud start to what always predicting the same gives has learned nothing that could be lost.
    best = NO_BETTER * constant_level(loss)
    learned = risen is not None and risen.gained >= _LEARNED and not risen.best >= best
    if risen is not None and learned and risen.lost >= _LOST:
        return (
            f"The model has lost what it had learned: the loss starts at {number(loss.first)}, falls to "
            f"{number(risen.best)} and ends at {number(loss.last)}."
        )
    gone = breakdown(run, optimizer) is not None or divergence(run, optimizer) is not None
    if not_learning(run, optimizer) and not gone:
        return "The model has learned nothing."
    return f"The loss starts at {number(loss.first)} and ends at {number(loss.last)}."
