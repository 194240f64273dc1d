"""Whether the records reach the end of a run: what is said of the end rests on records of its last tenth."""

import msgspec

from gradaudit.reading.run import Run

LAST = 0.1  # of a run; the recorder leaves no table without rows there, unless the disk is too slow


class EndUnknown(msgspec.Struct, frozen=True):
    """Records stop before the last tenth of a run."""

    last: float  # step of the last one
    steps: int  # of the run


def reaches(last: float, steps: float) -> bool:
    """Whether a record of step `last`, counted from 0, is in the last tenth of so many steps."""
    return last + 1 >= (1 - LAST) * steps


def steps_of_run(run: Run) -> int:
    """The global steps of a run."""
    return int(run.steps["global_step"].max()) + 1
