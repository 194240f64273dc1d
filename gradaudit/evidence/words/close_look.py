"""A close look at some steps: the command that takes one, and what it showed."""

from gradaudit.evidence.words.wording import percent
from gradaudit.findings import Action
from gradaudit.signals.run.operations import BrokenOperation

_AROUND = 2  # steps before the one that matters: what is usual shows there


def look_closely(step: int, last: int | None = None) -> Action:
    """Record these steps again with every operation."""
    first, last = max(0, step - _AROUND), step if last is None else last
    return Action(
        text="Run it again with a close look at these steps: every operation is recorded, with its line of the script",
        code=f"gradaudit record --closely {first}:{last} train.py",
    )


def operation_in_words(found: BrokenOperation) -> str:
    """Where it broke, in a sentence."""
    module = f", inside {found.module}," if found.module else ","
    at = f"In the backward pass of {found.place}" if found.backward else f"At {found.place}"
    before = "it is the first operation of the step" if not found.earlier else "all operations before it are finite"
    return f"{at}{module} {found.name} gives {found.what} in {percent(found.share)} of its elements; {before}."


def look_at_operation(found: BrokenOperation) -> Action:
    """The line to change."""
    module = f", in {found.module}" if found.module else ""
    what = f"in its backward pass {found.name}" if found.backward else found.name
    return Action(text=f"Look at {found.place}{module}: {what} is the first to give {found.what} values")
