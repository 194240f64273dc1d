"""Sick runs of the rules about targets and outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from gradaudit.reading.run import Run
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, healthy, sequences
from tests.diagnosers.sick_data import unmasked

COPIED = [0.02, 0.01, 0.0, 0.0, 0.01, 0.0, 0.03]  # at all positions but the last


def leaking(path: Path, last: float = 2.4, evaluation: float | None = 2.5, **changes: Any) -> Run:
    """All positions but the last have learned to copy."""
    others = [0.01] * 7
    return healthy(
        path, outputs=sequences([*COPIED, last], None if evaluation is None else [*others, evaluation]), **changes
    )


def one_example(path: Path, **changes: Any) -> Run:
    """NaN from step 60 on, at the first batch of one example."""
    loss, sizes = falling(100, last=2.0), numpy.full(100, 32)
    loss[60:], sizes[60] = numpy.nan, 1
    return build_run(path, loss=loss, facts=TEN, steps={"batch_size": sizes}, **changes)


OUTPUTS: dict[str, dict[str, tuple[Callable[[Path], Run], float]]] = {
    "future_leak": {
        "": (leaking, 0),
        "copied": (leaking, 0.001),
        "varied": (leaking, 1.5),
        "targets": (leaking, 100),
        "following": (unmasked, 1.1),
        "compared": (unmasked, 1e9),
    },
    "single_example_batch": {
        "": (one_example, 0),
        "usual": (one_example, 64),
    },
}
