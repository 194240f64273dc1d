"""Sick runs of the rules about targets and outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradaudit.reading.run import Run
from tests.diagnosers.runs import healthy, sequences

COPIED = [0.02, 0.01, 0.0, 0.0, 0.01, 0.0, 0.03]  # at all positions but the last


def leaking(path: Path, last: float = 2.4, evaluation: float | None = 2.5, **changes: Any) -> Run:
    """All positions but the last have learned to copy."""
    others = [0.01] * 7
    return healthy(
        path, outputs=sequences([*COPIED, last], None if evaluation is None else [*others, evaluation]), **changes
    )


OUTPUTS: dict[str, dict[str, tuple[Callable[[Path], Run], float]]] = {
    "future_leak": {
        "": (leaking, 0),
        "copied": (leaking, 0.001),
        "varied": (leaking, 1.5),
        "targets": (leaking, 100),
    },
}
