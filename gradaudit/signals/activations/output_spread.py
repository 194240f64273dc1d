"""How much the outputs of a model differ over a batch, in the unit of its loss."""

import math

from gradaudit.signals.activations.module_samples import last_samples, loss_inputs
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.run.last_tenth import reaches, steps_of_run


def output_spread(loss: TrainingLoss) -> float:
    """The standard deviation over a batch of what went into the loss at the end of the run, mean over the outputs.

    In logits, or in standard deviations of a regression target. NaN where it was not sampled then, where the
    spread of the target is not known, and for losses of another kind.
    """
    if loss.facts is None or loss.kind not in ("classification", "binary", "regression"):
        return math.nan
    run = loss.training.run
    samples = loss_inputs(run, loss.facts.id)
    if not len(samples) or not reaches(float(samples["step"].iloc[-1]), steps_of_run(run)):
        return math.nan
    spread = last_samples(samples, "batch_spread")
    if loss.kind != "regression":
        # A probability differs by a quarter of what its logit does, at most.
        return spread if loss.facts.function != "binary_cross_entropy" else 4 * spread
    variance = loss.facts.target_variance
    return spread / math.sqrt(variance) if variance is not None and variance > 0 else math.nan
