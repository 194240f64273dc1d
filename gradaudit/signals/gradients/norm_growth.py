"""How the norm of the whole gradient grows over a run, in which layers, and what the loss does meanwhile."""

import msgspec
import numpy

from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, median, quantile, rank_correlation
from gradaudit.training import Training, signal


class NormGrowth(msgspec.Struct, frozen=True):
    """The norm of the gradient in the last fifth of the run, over that of an earlier one, and the loss meanwhile."""

    loss: TrainingLoss
    base: float  # median norm of the second fifth; of the first where the loss does not tell whether it improves
    last: float  # median norm of the last fifth
    trend: float  # rank correlation of norm and step, over the last three quarters
    loss_before: float  # median of the second fifth
    loss_after: float  # median of the last fifth

    @property
    def known(self) -> bool:
        """Whether the norm was recorded in both fifths."""
        return self.base > 0 and self.last > 0

    @property
    def times(self) -> float:
        """How many times the norm has grown."""
        return self.last / self.base

    @property
    def fall(self) -> float:
        """By how much the loss has fallen; NaN where it is not known."""
        return self.loss_before - self.loss_after


@signal
def usable_norms(training: Training) -> Floats:
    """[steps]: the norm of the whole gradient; NaN where it is unknown, zero or not finite, or the step was skipped."""
    frame = training.steps
    norms = frame["gradient_norm"].to_numpy(dtype=float)
    usable = numpy.isfinite(norms) & (norms > 0) & ~frame["skipped"].fillna(False).to_numpy(dtype=bool)
    return numpy.where(usable, norms, numpy.nan)


@signal
def norm_growth(training: Training) -> NormGrowth:
    """The growth from the second fifth of the run to the last; from the first on where the loss is not judged."""
    norms, loss = usable_norms(training), training_loss(training)
    fifth = len(norms) // 5
    start = 0 if loss.shapeless else fifth
    return NormGrowth(
        loss=loss,
        base=median(norms[start : start + fifth]),
        last=median(norms[len(norms) - fifth :]),
        trend=rank_correlation(norms[len(norms) // 4 :]),
        loss_before=median(loss.values[fifth : 2 * fifth]),
        loss_after=median(loss.values[len(norms) - fifth :]),
    )


def fastest_growing(training: Training, least: float, most: int = 3) -> tuple[str, ...]:
    """The weights whose gradient grew most from the second fifth to the last, each more than `least` times."""
    matrix = training.matrix("gradient_norm")
    fifth = len(training.recorded_global_steps) // 5
    if not fifth:
        return ()
    early, late = quantile(matrix[fifth : 2 * fifth], 0.5), quantile(matrix[-fifth:], 0.5)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        times = numpy.where(early > 0, late / early, numpy.nan)
    tensors = training.tensors
    order = [
        i for i in numpy.argsort(-numpy.nan_to_num(times)) if tensors[i].role == "weight" and times[i] > least
    ]  # fmt: skip
    return tuple(tensors[i].name for i in order[:most])
