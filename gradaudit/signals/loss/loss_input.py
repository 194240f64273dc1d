"""What was sampled of the input of a loss that applies softmax or sigmoid itself, and what probabilities cost there."""

import math
from typing import Literal

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts
from gradaudit.signals.activations.module_samples import loss_inputs

Squash = Literal["softmax", "sigmoid"]

APPLIES: dict[str, Squash] = {"cross_entropy": "softmax", "binary_cross_entropy_with_logits": "sigmoid"}
HIGHEST = 1 + 1e-6  # a probability, with its rounding


class LossInput(msgspec.Struct, frozen=True):
    """The range of all samples of one loss function's input."""

    facts: LossFacts
    samples: int
    first: int  # global step of the first sample
    last: int  # global step of the last one
    low: float  # smallest value of all samples
    high: float  # largest value
    row_sum_error: float  # mean |row sum - 1| of a sample, the largest; NaN where rows have no sum

    @property
    def applies(self) -> Squash:
        """What the loss applies to it."""
        return APPLIES[self.facts.function]

    @property
    def bounded(self) -> bool:
        """Whether it lies within 0 and 1. Outputs that are all zero are a dead layer's: a sigmoid gives 0.5 for it."""
        return self.low >= 0 and 0 < self.high <= HIGHEST

    @property
    def steps(self) -> int:
        """From the first sample to the last, both counted."""
        return self.last - self.first + 1


def loss_input(run: Run, facts: LossFacts) -> LossInput | None:
    """The input of a loss function of `APPLIES`; None where it was not sampled."""
    frame = loss_inputs(run, facts.id)
    if not len(frame):
        return None
    errors = frame["row_sum_error"].to_numpy(dtype=float)
    return LossInput(
        facts=facts,
        samples=len(frame),
        first=int(frame["step"].iloc[0]),
        last=int(frame["step"].iloc[-1]),
        low=float(frame["minimum"].min()),
        high=float(frame["maximum"].max()),
        row_sum_error=float(numpy.nanmax(errors)) if numpy.isfinite(errors).any() else math.nan,
    )


def lowest_loss(facts: LossFacts) -> float:
    """The loss when every answer is right and sure, a probability of 1 being a logit of 1; NaN when not known."""
    if APPLIES[facts.function] == "softmax":
        weighted = facts.weighted or facts.label_smoothing > 0 or facts.soft_targets
        return math.nan if weighted or facts.classes < 2 else math.log(math.e + facts.classes - 1) - 1
    if facts.target_mean is None or facts.weighted or not 0 <= facts.target_mean <= 1:
        return math.nan
    return facts.target_mean * math.log(1 + math.exp(-1)) + (1 - facts.target_mean) * math.log(2)
