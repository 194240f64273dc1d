"""What a model that ignores its input would score on validation data."""

import math

import msgspec

from gradaudit.reading.run import Run
from gradaudit.signals.loss.constant_predictor import constant_loss
from gradaudit.signals.loss.training_loss import TrainingLoss


def held_out_constant(run: Run, losses: list[TrainingLoss]) -> tuple[float, TrainingLoss]:
    """The validation loss of the best constant predictor, and the training loss that knows the labels."""
    used = set(run.evaluations["loss"])
    for loss in losses:
        for facts in run.meta.losses:
            if loss.facts is None or facts.id not in used or facts.function != loss.facts.function:
                continue
            if facts.classes != loss.facts.classes or facts.reduction != loss.facts.reduction:
                continue
            # Labels are counted in training only; smoothing and weights are those of the evaluation.
            known = msgspec.structs.replace(
                facts,
                label_counts=loss.facts.label_counts,
                label_entropy=loss.facts.label_entropy,
                target_variance=loss.facts.target_variance,
                output_variance=loss.facts.output_variance,
                binary_entropy=loss.facts.binary_entropy,
            )
            level = constant_loss(known, loss.kind)
            if not math.isnan(level):
                return level, loss
    return math.nan, losses[0]
