"""The validation loss beside the training loss, drawn."""

from gradaudit.chart_data import Lines, Mark
from gradaudit.evidence.charts.reduce import banded, plain
from gradaudit.evidence.words.wording import number
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import Floats


def against_constant(loss: TrainingLoss, split: str, steps: Floats, losses: Floats, constant: float) -> Lines:
    """The losses of a split [evaluations] at these steps, the training loss, and that of a constant prediction."""
    return Lines(
        title=f"Training and {split} loss",
        caption="A constant prediction gives the line; a model that uses its input gets below. The validation loss "
        "never does.",
        x_label="step",
        y_label="loss",
        series=[
            banded(loss.name, loss.steps, loss.values),
            plain(f"{split} loss", steps, losses, role="evaluation"),
        ],
        marks=[Mark(label=f"constant prediction: {number(constant)}", y=constant, role="reference")],
    )
