"""How often each class is a target of a loss, and what a model would score that knows nothing else, drawn."""

import math

from gradaudit.chart_data import Bin, Distribution, Mark
from gradaudit.evidence.words.wording import number
from gradaudit.schema import LossFacts
from gradaudit.signals.loss.constant_predictor import uniform_loss
from gradaudit.signals.loss.label_counts import label_counts
from gradaudit.signals.loss.training_loss import TrainingLoss

_MOST_BARS = 100  # classes; of a vocabulary no bar could be told from the next
_NEAR = 0.02  # of the loss: two lines closer than this would read as one


def label_bars(facts: LossFacts | None, caption: str, *, flagged: bool = False) -> list[Distribution]:
    """The counts as bars, the most frequent class `flagged`; none where they are not known, or are a vocabulary's."""
    counts = label_counts(facts) if facts is not None else []
    if facts is None or not 2 <= len(counts) <= _MOST_BARS:
        return []
    return [
        Distribution(
            title="Training labels by class",
            caption=caption,
            x_label="class",
            y_label="targets" if facts.label_counts else "share of the targets",
            bins=[
                Bin(label=str(index), count=amount, flagged=flagged and amount == max(counts))
                for index, amount in enumerate(counts)
            ],
        )
    ]


def baseline_marks(loss: TrainingLoss, level: float) -> list[Mark]:
    """Lines at what a model scores without its input: by the label frequencies, and where that differs by chance."""
    words = {
        "classification": "label frequencies alone",
        "binary": "label frequencies alone",
        "regression": "always the mean of the target",
    }.get(loss.kind, "always the same")
    marks = [Mark(label=f"{words}: {number(level)}", y=level, role="reference")]
    even = uniform_loss(loss.facts, loss.kind) if loss.facts is not None else math.nan
    if math.isfinite(even) and abs(even - level) > _NEAR * even:
        marks.append(Mark(label=f"uniform prediction: {number(even)}", y=even, role="reference"))
    return marks
