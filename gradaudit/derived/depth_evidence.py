"""What vanishing and exploding gradients show: the gradient of every layer, and the loss."""

import math

import numpy

from gradaudit.derived.depth_slope import Slope
from gradaudit.derived.evidence import MOST_DOTS
from gradaudit.derived.progress import climb, not_learning
from gradaudit.derived.reduce import short
from gradaudit.derived.training_loss import training_loss
from gradaudit.derived.wording import count, number
from gradaudit.findings import Dot, Dots
from gradaudit.run import Run

_GAINED = 0.1  # of the first loss: what a model had learned, if it came so far
_LOST = 0.5  # of that gain, gone again


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
    return not_learning(run, optimizer) or loss.improvement < 0.05


def nothing_in_words(run: Run, optimizer: int) -> str:
    """That the model has learned nothing, or has lost it again; empty where the loss says neither."""
    if not learned_nothing(run, optimizer):
        return ""
    loss = training_loss(run, optimizer)
    known = climb(loss) if numpy.isfinite(loss.values).all() else None
    if known is None or known.gained < _GAINED or known.lost < _LOST:
        return "The model has learned nothing."
    return (
        f"The model has lost what it had learned: the loss was {number(known.best)} over steps "
        f"{count(loss.steps[known.index])} to {count(loss.steps[known.until - 1])}, and {number(known.last)} over the "
        "last tenth of the run (medians)."
    )
