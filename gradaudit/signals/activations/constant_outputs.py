"""Whether a model predicts the same for every input, and what that is."""

import math

import msgspec

from gradaudit.signals.activations.output_spread import output_spread
from gradaudit.signals.loss.progress import constant_level
from gradaudit.signals.loss.training_loss import TrainingLoss

_BEST = 1.1  # of the best constant prediction's loss; not measured: up to it a constant output is called the best one


class Outputs(msgspec.Struct, frozen=True):
    """How much the outputs of a model differ over a batch at the end of a run."""

    spread: float  # of a logit, or in standard deviations of the target; NaN where they were not sampled
    same: bool  # so little that the prediction is one for all inputs
    equal: bool  # so little that the input does not reach the output
    best: bool  # the loss is about that of the best constant prediction
    most_frequent: int | None  # class; None where the labels were not counted
    share: float  # of the labels that are of that class


def constant_outputs(loss: TrainingLoss, same: float, equal: float) -> Outputs:
    """The outputs over a batch, held against these limits of their spread."""
    spread, counts = output_spread(loss), loss.facts.label_counts if loss.facts else []
    counted = any(counts)
    return Outputs(
        spread=spread,
        same=spread < same,
        equal=spread < equal,
        # Far above the best constant prediction's loss it is another constant.
        best=loss.last < _BEST * constant_level(loss),
        most_frequent=counts.index(max(counts)) if counted else None,
        share=max(counts) / sum(counts) if counted else math.nan,
    )
