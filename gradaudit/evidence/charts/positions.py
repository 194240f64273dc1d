"""The loss at the positions of a sequence, drawn."""

from gradaudit.chart_data import Lines
from gradaudit.evidence.charts.reduce import plain
from gradaudit.signals.loss.positions import SequenceLoss


def position_chart(seen: SequenceLoss) -> Lines:
    """The loss over the positions, in training and in evaluation."""
    series = [plain("training", seen.places, seen.training.losses)]
    if seen.evaluation is not None:
        series.append(plain("evaluation", seen.places, seen.evaluation.losses, role="evaluation"))
    return Lines(
        title="Loss by position",
        caption="The mean loss at positions of a sequence at the end of the run. Where a model knows only "
        "what came before, the loss is highest at the first positions.",
        x_label="position",
        y_label="loss",
        series=series,
    )
