"""Charts of the rows of an embedding table: how many are reached, how often, and how far they moved."""

from gradaudit.chart_data import AnyEvidence, Bin, Distribution, Lines
from gradaudit.evidence.charts.reduce import plain, short
from gradaudit.signals.embeddings.embedding_rows import RowHistory, bin_label
from gradaudit.training import Training


def reach_chart(training: Training, history: RowHistory | None) -> list[AnyEvidence]:
    """The share of the rows that had a gradient so far, and of those that moved; none without any such row."""
    if history is None or not (history.reached.any() or history.changed.any()):
        return []
    own = training.steps
    place = dict(zip(own["step"].tolist(), own["global_step"].tolist(), strict=True))
    steps = [place.get(step, step) for step in history.steps.tolist()]
    return [
        Lines(
            title="Rows that learn",
            caption="The share of the rows that have had a gradient so far, and of those that are no longer as they "
            "were at the start. Both rise towards the share of the vocabulary that the data holds; rows above the "
            "lines are as they were drawn.",
            x_label="step",
            y_label="share of the rows",
            series=[plain("had a gradient", steps, history.reached), plain("moved", steps, history.changed)],
        )
    ]


def hits_chart(history: RowHistory, flagged: set[int]) -> Distribution:
    """The rows by how many steps gave them a gradient."""
    return Distribution(
        title="Rows by how often they were hit",
        caption="Each bar counts the rows that had a gradient at so many steps. Rows in the first bar were never "
        "trained.",
        x_label="steps with a gradient",
        y_label="rows",
        bins=[
            Bin(label=bin_label(index), count=float(amount), flagged=index in flagged)
            for index, amount in enumerate(history.hits)
        ],
    )


def movement_chart(history: RowHistory) -> list[AnyEvidence]:
    """How far the rows moved, by how many steps gave them a gradient; none where that was not measured."""
    known = [short(value) or 0.0 for value in history.movement]
    if not any(known):
        return []
    return [
        Distribution(
            title="How far rows moved, by how often they were hit",
            caption="How far the median row with so many gradients is from where it started, over its size. Rows that "
            "learn move further the more often they are hit.",
            x_label="steps with a gradient",
            y_label="distance from the start / size of the row",
            bins=[Bin(label=bin_label(index), count=value) for index, value in enumerate(known)],
        )
    ]
