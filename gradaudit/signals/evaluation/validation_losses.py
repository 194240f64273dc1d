"""The finite losses of the validation split beside the training loss."""

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.generalisation import TrainingCurve, comparison
from gradaudit.signals.evaluation.validation import Evaluations
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import Floats


class ValidationLosses(msgspec.Struct, frozen=True, eq=False):
    """The validation losses and the training loss that they are compared with."""

    split: str  # what reports call it
    steps: Floats  # [evaluations] global steps; -1 before the first
    values: Floats  # [evaluations] finite losses
    train: TrainingCurve
    last_step: int  # global step, of the run

    @property
    def best(self) -> float:
        """The lowest validation loss."""
        return float(self.values.min())

    @property
    def best_step(self) -> int:
        """The global step of its evaluation, -1 before the first."""
        return int(self.steps[numpy.argmin(self.values)])


def validation_losses(run: Run, held_out: Evaluations, training: list[TrainingLoss]) -> ValidationLosses:
    """The evaluations with a finite loss, and the training loss that `comparison` chooses among these."""
    finite = numpy.isfinite(held_out.losses)
    return ValidationLosses(
        split=held_out.name,
        steps=held_out.steps[finite].astype(float),
        values=held_out.losses[finite],
        train=comparison(run, training),
        last_step=int(run.steps["global_step"].max()),
    )
