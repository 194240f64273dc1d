"""The memory in use over the steps."""

from gradaudit.chart_data import Lines, Series
from gradaudit.reading.run import Run
from gradaudit.signals.run.memory import MEGABYTE


def memory_chart(run: Run) -> Lines:
    """Resident memory of the process and, where there is one, what is allocated on the device."""
    samples = run.meta.schedules.memory
    series = [
        Series(name=name, x=[one.step for one in known], y=[getattr(one, kind) / MEGABYTE for one in known], role=role)
        for kind, name, role in (("host", "process", "main"), ("device", "device", "flagged"))
        if (known := [one for one in samples if getattr(one, kind) >= 0])
    ]
    return Lines(
        title="Memory in use",
        caption="Memory at steps a quarter apart. A line that rises to the end is something kept at every step.",
        x_label="step",
        y_label="MB",
        series=series,
    )
