"""What a check says that finds no validation loss, or too few of them."""

import numpy

from gradaudit.evidence.words.wording import setting
from gradaudit.findings import Skipped
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.validation import UNKNOWN, Evaluations, splits_of


def unclear(run: Run) -> Skipped:
    """What a check says that needs the validation loss, where `validation` is None."""
    splits = splits_of(run)
    named = ", ".join(split for split in splits if split != UNKNOWN)
    why = f"it is not clear which evaluation is on validation data{': ' if named else ''}{named}"
    if UNKNOWN in splits:
        why = "several sets of data may be evaluated at one place of the script, and their losses are not told apart"
    return Skipped(reason=why, enable='name the splits: Recorder.log(loss=..., split="validation")')


def more_evaluations(seen: Evaluations, least: float, when: str = " during the run") -> str:
    """What to do where fewer than `least` finite losses of this split were recorded."""
    if not numpy.isfinite(seen.losses).all():
        return f"fix what non_finite reports, or evaluate at least {setting(least)} times{when}"
    return f"evaluate at least {setting(least)} times{when}"
