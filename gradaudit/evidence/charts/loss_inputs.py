"""The range of what a loss function was given, drawn."""

from gradaudit.chart_data import Lines, Mark
from gradaudit.evidence.charts.reduce import plain
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts
from gradaudit.signals.activations.module_samples import loss_inputs


def input_range_chart(run: Run, facts: LossFacts) -> Lines:
    """The smallest and the largest value of each sample of a loss's input, between the bounds of a probability."""
    frame = loss_inputs(run, facts.id)
    steps = frame["step"].to_numpy()
    return Lines(
        title=f"Input of {facts.function}",
        caption="The smallest and the largest value of each sample. Logits go below 0 and above 1.",
        x_label="step",
        y_label="value",
        series=[
            plain("largest", steps, frame["maximum"].to_numpy(dtype=float), role="flagged"),
            plain("smallest", steps, frame["minimum"].to_numpy(dtype=float), role="flagged"),
        ],
        marks=[Mark(label="1", y=1.0, role="reference"), Mark(label="0", y=0.0, role="reference")],
    )
