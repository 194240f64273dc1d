"""What a check of the end of a run says whose records stop before it."""

from gradaudit.evidence.words.wording import count
from gradaudit.findings import Skipped
from gradaudit.signals.run.last_tenth import EndUnknown, reaches
from gradaudit.training import Training


def stops_early(what: str, found: EndUnknown) -> Skipped:
    """What is said where the records of `what` stop before the last tenth."""
    return Skipped(
        reason=f"{what} were last recorded at step {count(found.last)} of {count(found.steps - 1)}: how the run ends "
        "is not known",
        enable="record more often: --every 1, or a larger --budget",
    )


def end_unknown(what: str, last: float, steps: int) -> Skipped | None:
    """What a check of the end of a run says whose records stop before its last tenth; None where they do not."""
    return None if reaches(last, steps) else stops_early(what, EndUnknown(last, steps))


def weights_at_the_end(training: Training) -> Skipped | None:
    """The same of the statistics of tensors, in the optimizer's own steps."""
    recorded = training.recorded
    return end_unknown("the weights", int(recorded[-1]), int(training.steps["step"].max()) + 1)
