"""Judges a run training by training: nets trained by different optimizers are never pooled."""

from collections.abc import Callable, Iterable

import msgspec

from gradaudit.evidence.words.optimizers import label_of
from gradaudit.findings import Clean, Finding, Verdict
from gradaudit.reading.run import Run
from gradaudit.training import Training


def each_training(run: Run, judge: Callable[[Training], Iterable[Verdict]]) -> list[Verdict]:
    """The verdicts of `judge` on every training; what was found, and what is clean, names its optimizer.

    Where one could look, the others' reasons not to are left out.
    """
    verdicts = [_named(verdict, training) for training in run.trainings for verdict in judge(training)]
    looked = [verdict for verdict in verdicts if isinstance(verdict, Finding | Clean)]
    return [*looked] or verdicts


def _named(verdict: Verdict, training: Training) -> Verdict:
    label = label_of(training)
    if label and isinstance(verdict, Finding):
        return msgspec.structs.replace(verdict, headline=verdict.headline + label)
    if label and isinstance(verdict, Clean):
        return msgspec.structs.replace(verdict, measured=verdict.measured + label)
    return verdict
