"""What is said of a scheduler whose calls do not fit its plan."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from gradaudit.evidence.words.wording import percent, plural, setting
from gradaudit.findings import Action, Measure
from gradaudit.signals.updates.increasing_schedule import HALF
from gradaudit.signals.updates.scheduler_plan import Mismatch

_EACH = "optimizer.step()\nscheduler.step()"


@dataclass(frozen=True)
class Words:
    """What is said of one kind of mismatch."""

    title: str
    headline: str
    explanation: str
    actions: list[Action]


def words(found: Mismatch) -> Words:
    """The words of a mismatch."""
    return _WORDS[found.kind](found)


def _run(found: Mismatch) -> str:
    steps = f"The run makes {plural(found.steps, 'step')}"
    return f"{steps} in {setting(round(found.epochs, 1))} epochs." if math.isfinite(found.epochs) else f"{steps}."


def _by_batch(found: Mismatch) -> Action:
    unit = "a batch" if found.batches <= found.steps else "an optimizer step"
    text = f"Call {found.scheduler}.step() once {unit}, {plural(found.steps, 'time')} in all, after optimizer.step()"
    return Action(text=text, code=_EACH)


def _by_epoch(found: Mismatch) -> Action:
    times = f", {plural(found.epochs, 'time')} in all" if math.isfinite(found.epochs) else ""
    return Action(text=f"Call {found.scheduler}.step() once an epoch{times}, behind the loop over the batches")


def _longer(found: Mismatch) -> Action:
    return Action(text=f"Or make the schedule {plural(found.calls, 'call')} long, as often as it is stepped")


def _over(found: Mismatch) -> str:
    by = (
        f"The gamma takes the learning rate to a thousandth in {plural(found.plan, 'call')}"
        if found.number == "gamma"
        else f"Its {found.number} is {setting(found.plan)}"
    )
    return f"{_run(found)} {by}: it is over after {percent(1 / found.done)} of the calls."


def _epochs(found: Mismatch) -> Words:
    return Words(
        "Scheduler stepped once an epoch",
        f"{found.scheduler} plans {plural(found.plan, 'step')} and is stepped once an epoch: "
        f"{plural(found.calls, 'call')}",
        f"{_run(found)} Its {found.number} is {setting(found.plan)}. At the end {percent(found.done)} of the schedule "
        f"has been run: there are up to {plural(found.longest, 'step')} between two calls.",
        [_by_batch(found), _longer(found)],
    )


def _rising(found: Mismatch) -> Words:
    return Words(
        "Scheduler stepped once an epoch",
        f"{found.scheduler} is stepped once an epoch, {plural(found.calls, 'time')}, and warms up to the end",
        f"{_run(found)} The learning rate rises with every call. At the end it is {percent(found.reached)} of that "
        "which the optimizer was made with: the warmup counts steps.",
        [_by_batch(found)],
    )


def _accumulated(found: Mismatch) -> Words:
    return Words(
        "Schedule counted in batches",
        f"{found.scheduler} plans {plural(found.plan, 'batch', 'batches')} and is stepped once an optimizer step: "
        f"{plural(found.calls, 'call')}",
        f"{_run(found)} They take {plural(found.batches, 'backward pass', 'backward passes')}, since gradients are "
        f"accumulated. At the end {percent(found.done)} of the schedule has been run.",
        [
            Action(
                text=f"Make the schedule {plural(found.steps, 'step')} long: divide {found.number} by the number of "
                "batches that are accumulated"
            )
        ],
    )


def _in_epochs(found: Mismatch) -> Words:
    return Words(
        "Epoch schedule stepped once a batch",
        f"{found.scheduler} is over after {plural(found.plan, 'call')} and is stepped once a batch: "
        f"{plural(found.calls, 'call')}",
        _over(found),
        [_by_epoch(found), _longer(found)],
    )


def _again(found: Mismatch) -> Words:
    rest = (
        _over(found)
        if found.kind == "twice"
        else f"{_run(found)} Each of these calls takes the schedule one further, so that it runs faster than it reads."
    )
    return Words(
        "Scheduler stepped twice a step",
        f"{found.scheduler} is stepped again without a step at {percent(found.repeated)} of "
        f"{plural(found.calls, 'call')}",
        rest,
        [_by_batch(found)],
    )


def _early(found: Mismatch) -> Words:
    return Words(
        "Schedule over early",
        f"{found.scheduler} is over after {plural(found.plan, 'call')}, and is called {plural(found.calls, 'time')}",
        _over(found),
        [Action(text=f"Make the schedule {plural(found.calls, 'call')} long, as often as it is stepped")],
    )


def _plateau(found: Mismatch) -> Words:
    return Words(
        "Plateau scheduler stepped once a batch",
        f"{found.scheduler} has a patience of {plural(found.plan, 'call')} and is stepped once a batch",
        f"{_run(found)} The loss of a batch is seldom the lowest so far, so that the learning rate is lowered again "
        "and again.",
        [
            _by_epoch(found),
            Action(text="Give it the validation loss, after each evaluation", code="scheduler.step(validation_loss)"),
        ],
    )


def _idle(found: Mismatch) -> Words:
    steps = f"makes only {plural(found.steps, 'step')}" if found.steps else "never steps"
    return Words(
        "Scheduler of another optimizer",
        f"{found.scheduler} is stepped {plural(found.calls, 'time')} for an optimizer that {steps}",
        "What it sets is the learning rate of that optimizer, while another one trains: the schedule has no effect.",
        [
            Action(
                text=f"Make {found.scheduler} with the optimizer that steps, once that is made: "
                f"{plural(found.calls, 'call')} change nothing now",
                code=f"scheduler = {found.scheduler}(optimizer, ...)",
            )
        ],
    )


def _before(found: Mismatch) -> Words:
    return Words(
        "Scheduler stepped before the optimizer",
        f"{found.scheduler} is stepped before the first of {plural(found.steps, 'optimizer step')}",
        "The first learning rate of the schedule is skipped.",
        [
            Action(
                text="Call scheduler.step() after optimizer.step(): step 0 is made with the second learning rate now",
                code=_EACH,
            )
        ],
    )


def _never(found: Mismatch) -> Words:
    return Words(
        "Scheduler never stepped",
        f"{found.scheduler} is made, and its step is called 0 times in {plural(found.steps, 'step')}",
        f"{_run(found)} The learning rate stays what the scheduler set when it was made.",
        [
            Action(
                text=f"Call {found.scheduler}.step() after optimizer.step(), {plural(found.steps, 'time')} in all, or "
                "once an epoch where it counts epochs",
                code=_EACH,
            )
        ],
    )


_WORDS: dict[str, Callable[[Mismatch], Words]] = {
    "epochs": _epochs, "rising": _rising, "accumulated": _accumulated, "in_epochs": _in_epochs, "twice": _again,
    "unknown": _again, "early": _early, "plateau": _plateau, "idle": _idle, "before": _before, "never": _never,
}  # fmt: skip


def measures(found: Mismatch, part: float, often: float) -> list[Measure]:
    """The numbers that decided."""
    done = Measure(quantity="calls / calls planned", value=found.done, comparison="<=", threshold=part,
                   unit="fraction", option="part")  # fmt: skip
    ended = Measure(quantity="share of the calls at which it is over", value=1 / found.done, comparison="<=",
                    threshold=part, unit="fraction", option="part")  # fmt: skip
    again = Measure(quantity="calls without a step since the last", value=found.repeated, comparison=">",
                    threshold=often, unit="fraction", option="often")  # fmt: skip
    reached = Measure(quantity="last learning rate / that it was made with", value=found.reached, comparison="<",
                      threshold=HALF)  # fmt: skip
    each = found.batches / found.epochs if found.epochs > 0 else math.inf
    patience = Measure(quantity="patience, in calls", value=found.plan, comparison="<", threshold=each, unit="count")
    none = Measure(quantity="calls of step", value=found.calls, comparison="==", threshold=0, unit="count")
    some = Measure(quantity="calls of step", value=found.calls, comparison=">=", threshold=3, unit="count")
    return {
        "epochs": [done], "accumulated": [done], "rising": [reached], "in_epochs": [ended], "early": [ended],
        "twice": [ended, again], "unknown": [again], "plateau": [patience], "never": [none],
    }.get(found.kind, [some])  # fmt: skip
