"""Whether the records reach the end of a run: what is said of the end rests on records of its last tenth."""

from gradaudit.derived.wording import count
from gradaudit.findings import CouldNotLook
from gradaudit.reading.run import Run

LAST = 0.1  # of a run; the recorder leaves no table without rows there, unless the disk is too slow


def reaches(last: float, steps: float) -> bool:
    """Whether a record of step `last`, counted from 0, is in the last tenth of so many steps."""
    return last + 1 >= (1 - LAST) * steps


def steps_of_run(run: Run) -> int:
    """The global steps of a run."""
    return int(run.steps["global_step"].max()) + 1


def end_unknown(what: str, last: float, steps: float) -> CouldNotLook | None:
    """What a check of the end of a run says whose records stop before its last tenth; None where they do not."""
    if reaches(last, steps):
        return None
    return CouldNotLook(
        reason=f"{what} were last recorded at step {count(last)} of {count(steps - 1)}: how the run ends is not known",
        enable="record more often: --every 1, or a larger --budget",
    )


def weights_at_the_end(run: Run, optimizer: int) -> CouldNotLook | None:
    """The same of the statistics of tensors, in the optimizer's own steps."""
    recorded = run.recorded_steps(optimizer)
    return end_unknown("the weights", int(recorded[-1]), int(run.steps_of(optimizer)["step"].max()) + 1)
