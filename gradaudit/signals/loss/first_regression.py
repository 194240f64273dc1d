"""Where a regression's first loss comes from: a target that is not standardised, or outputs that are too large."""

import math

import msgspec

from gradaudit.signals.activations.module_samples import loss_inputs
from gradaudit.signals.loss.training_loss import TrainingLoss

_HELPS = 2.0  # times: a target whose standardisation takes less off the ratio of loss to variance is not the cause
_NOTHING = 0.05  # of a standard deviation, by which to shift a target, or of 1, by which to scale it


class Cause(msgspec.Struct, frozen=True):
    """What a first loss is made of."""

    ratio: float  # the loss over the variance of the target
    mean: float  # of the target
    deviation: float
    outputs: float  # mean square of the untrained outputs
    raw: bool  # the target is spread too far
    standardising_helps: bool  # the target is off, and its standardisation takes most of the ratio away
    too_large: bool  # the outputs are, for this target and for one that is standardised

    @property
    def target(self) -> float:
        """Mean square of the target."""
        return self.mean**2 + self.deviation**2


def cause(loss: TrainingLoss, mean: float, deviation: float, variance: float, spread: float) -> Cause:
    """Tell a target that is not standardised from outputs that are too large."""
    ratio, raw = loss.first / deviation**2, deviation > spread
    outputs = _first_outputs(loss, mean**2 + deviation**2)
    # Outputs that stay as they are beside a target of mean 0 and variance 1 leave a ratio of their square and 1.
    left = outputs + 1
    helps = any(off_standard(mean, deviation)) and (raw or ratio > _HELPS * left)
    larger = outputs > mean**2 + deviation**2
    return Cause(ratio, mean, deviation, outputs, raw, helps, larger and (left > variance or not helps))


def off_standard(mean: float, deviation: float) -> tuple[bool, bool]:
    """Whether to subtract the mean of a target does anything, and whether to divide by its standard deviation does."""
    return abs(mean) > _NOTHING * deviation, abs(math.log(deviation)) > _NOTHING


def _first_outputs(loss: TrainingLoss, target: float) -> float:
    """The mean square of the outputs at the first step: sampled, or what `target`, its own, leaves of the loss."""
    samples = loss_inputs(loss.training.run, loss.facts.id) if loss.facts is not None else None
    if samples is not None and len(samples) and int(samples["step"].iloc[0]) == int(loss.steps[0]):
        sampled = float(samples["mean"].iloc[0]) ** 2 + float(samples["std"].iloc[0]) ** 2
        if math.isfinite(sampled):
            return sampled
    return max(0.0, loss.first - target)
