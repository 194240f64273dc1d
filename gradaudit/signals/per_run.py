"""Remembers what was derived from a run, for as long as the run lives."""

from collections.abc import Callable, Hashable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from gradaudit.reading.run import Run

Answer = TypeVar("Answer")


def per_run(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """Compute `function(run, *arguments)` once for each run and arguments; the answer must not be changed.

    Several diagnosers ask for the same series, and one audit asks for it once.
    """
    answers: WeakKeyDictionary[Run, dict[tuple[Hashable, ...], Answer]] = WeakKeyDictionary()

    @wraps(function)
    def remembered(run: Run, *arguments: Hashable) -> Answer:
        known = answers.setdefault(run, {})
        if arguments not in known:
            known[arguments] = function(run, *arguments)
        return known[arguments]

    return remembered
