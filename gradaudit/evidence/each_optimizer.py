"""Judges a run optimizer by optimizer: nets trained by different optimizers are never pooled."""

from collections.abc import Callable, Iterable, Iterator

from gradaudit.findings import Clean, Finding, Verdict
from gradaudit.reading.run import Run


def each_optimizer(run: Run, judge: Callable[[int], Iterable[Verdict]]) -> Iterator[Verdict]:
    """The verdicts of `judge` on every optimizer; where one could look, the others' reasons not to are left out."""
    verdicts = [verdict for optimizer in run.optimizers for verdict in judge(optimizer)]
    looked = any(isinstance(verdict, Finding | Clean) for verdict in verdicts)
    for verdict in verdicts:
        if not looked or isinstance(verdict, Finding | Clean):
            yield verdict
