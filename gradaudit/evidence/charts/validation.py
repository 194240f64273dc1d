"""The validation loss over the training loss, drawn."""

from gradaudit.chart_data import Lines, Mark
from gradaudit.evidence.charts.lines import training_curve
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.held_out_rise import when_evaluated
from gradaudit.evidence.words.wording import number
from gradaudit.signals.evaluation.generalisation import Rise
from gradaudit.signals.evaluation.validation_losses import ValidationLosses


def rise_chart(losses: ValidationLosses, rise: Rise) -> Lines:
    """Both losses, the best evaluation marked and what comes after it shaded."""
    before = "Up to the mark both losses fall together." if rise.best else "No evaluation is better than the first."
    shaded = "In the shaded part only the training loss falls: what is learned there does not generalise."
    return _chart(losses, f"{before} {shaded}", shade=True)


def gap_chart(losses: ValidationLosses) -> Lines:
    """Both losses, the best evaluation marked."""
    caption = "The gap between the lines is what the model has learned of the training examples only."
    return _chart(losses, caption, shade=False)


def _chart(losses: ValidationLosses, caption: str, *, shade: bool) -> Lines:
    best, at = losses.best, float(max(losses.best_step, 0))
    return Lines(
        title=f"Training and {losses.split} loss",
        caption=caption,
        x_label="step",
        y_label="loss",
        series=[
            training_curve(losses.train),
            plain(f"{losses.split} loss", losses.steps, losses.values, role="evaluation"),
        ],
        marks=[Mark(label=f"best: {number(best)} {when_evaluated(losses.best_step)}", x=at, y=best, role="best")],
        shade_from=at if shade else None,
    )
