"""What is said of a scheduler whose calls do not fit its plan."""

from gradaudit.evidence.words.wording import count, percent, plural, setting
from gradaudit.findings import Action, Measure
from gradaudit.signals.updates.increasing_schedule import HALF
from gradaudit.signals.updates.scheduler_plan import Mismatch

_TITLES = {
    "epochs": "Scheduler stepped once an epoch",
    "rising": "Scheduler stepped once an epoch",
    "accumulated": "Schedule counted in batches",
    "in_epochs": "Epoch schedule stepped once a batch",
    "twice": "Scheduler stepped twice a step",
    "unknown": "Scheduler stepped twice a step",
    "early": "Schedule over early",
    "plateau": "Plateau scheduler stepped once a batch",
    "idle": "Scheduler of another optimizer",
    "before": "Scheduler stepped before the optimizer",
    "never": "Scheduler never stepped",
}


def title(kind: str) -> str:
    """The disease by name."""
    return _TITLES[kind]


def headline(found: Mismatch) -> str:
    """One sentence with the decisive number."""
    name, calls = found.scheduler, plural(found.calls, "call")
    return {
        "epochs": f"{name} plans {plural(found.plan, 'step')} and is stepped once an epoch: {calls}",
        "rising": f"{name} is stepped once an epoch, {plural(found.calls, 'time')}, and warms up to the end",
        "accumulated": f"{name} plans {count(found.plan)} batches and is stepped once an optimizer step: {calls}",
        "in_epochs": f"{name} is over after {plural(found.plan, 'call')} and is stepped once a batch: {calls}",
        "twice": f"{name} is stepped again without a step at {percent(found.repeated)} of {calls}",
        "unknown": f"{name} is stepped again without a step at {percent(found.repeated)} of {calls}",
        "early": f"{name} is over after {plural(found.plan, 'call')}, and is called {plural(found.calls, 'time')}",
        "plateau": f"{name} has a patience of {plural(found.plan, 'call')} and is stepped once a batch",
        "idle": f"{name} is stepped {plural(found.calls, 'time')} for an optimizer that makes {_steps(found)}",
        "before": f"{name} is stepped before the first of {plural(found.steps, 'optimizer step')}",
        "never": f"{name} is made and called 0 times in {plural(found.steps, 'step')}",
    }[found.kind]


def _steps(found: Mismatch) -> str:
    return "no step" if not found.steps else f"only {plural(found.steps, 'step')}"


def explained(found: Mismatch) -> str:
    """What follows from it."""
    run = f"The run makes {plural(found.steps, 'step')}"
    run += f" in {setting(round(found.epochs, 1))} epochs." if found.epochs == found.epochs else "."
    planned = f"Its {found.number} is {setting(found.plan)}."
    return {
        "epochs": f"{run} {planned} At the end {percent(found.done)} of the schedule has been run: there are up to "
        f"{plural(found.longest, 'step')} between two calls.",
        "rising": f"{run} The learning rate rises with every call. At the end it is {percent(found.reached)} of that "
        "which the optimizer was made with: the warmup counts steps.",
        "accumulated": f"{run} It makes {count(found.batches)} backward passes, since gradients are accumulated. "
        f"{planned} At the end {percent(found.done)} of the schedule has been run.",
        "in_epochs": f"{run} {_over(found)}",
        "twice": f"{run} {_over(found)}",
        "early": f"{run} {_over(found)}",
        "unknown": f"{run} Each of these calls takes the schedule one further, so that it runs faster than it reads.",
        "plateau": f"{run} {planned} The loss of single batches seldom falls for so many batches in a row, so that "
        "the learning rate is lowered again and again.",
        "idle": "What it sets is the learning rate of that optimizer, and another one trains: the schedule has no "
        "effect.",
        "before": "The first learning rate of the schedule is skipped.",
        "never": f"{run} The learning rate stays what the scheduler set when it was made.",
    }[found.kind]


def _over(found: Mismatch) -> str:
    by = (
        f"The gamma takes the learning rate to a thousandth in {plural(found.plan, 'call')}"
        if found.number == "gamma"
        else f"Its {found.number} is {setting(found.plan)}"
    )
    return f"{by}: it is over after {percent(1 / found.done)} of the calls."


def advice(found: Mismatch) -> list[Action]:
    """Which line to change."""
    name, each = found.scheduler, "optimizer.step()\nscheduler.step()"
    by_batch = Action(text=f"Call {name}.step() once a batch, right after optimizer.step()", code=each)
    by_epoch = Action(text=f"Call {name}.step() once an epoch, {count(found.epochs)} times in all, behind the loop "
                      "over the batches") if found.epochs == found.epochs else Action(
                      text=f"Call {name}.step() once an epoch, behind the loop over the batches")  # fmt: skip
    longer = Action(text=f"Or make the schedule {plural(found.calls, 'call')} long, as often as it is stepped")
    return {
        "epochs": [by_batch, longer],
        "rising": [by_batch],
        "accumulated": [
            Action(text=f"Make the schedule {plural(found.steps, 'step')} long: divide its length by the steps of "
                   "accumulation")
        ],
        "in_epochs": [by_epoch, longer],
        "twice": [Action(text=f"Call {name}.step() once for each of the {plural(found.steps, 'optimizer step')}",
                         code=each), longer],
        "unknown": [Action(text=f"Call {name}.step() once for each of the {plural(found.steps, 'optimizer step')}",
                           code=each)],
        "early": [Action(text=f"Make the schedule {plural(found.calls, 'call')} long, as often as it is stepped")],
        "plateau": [by_epoch, Action(text="Give it the validation loss, once for each evaluation",
                                     code="scheduler.step(validation_loss)")],
        "idle": [Action(text=f"Make {name} with the optimizer that steps, after that optimizer is made; now "
                        f"{plural(found.calls, 'call')} change nothing", code=f"scheduler = {name}(optimizer, ...)")],
        "before": [Action(text="Call scheduler.step() after optimizer.step(); now step 0 has the second learning rate",
                          code=each)],
        "never": [Action(text=f"Call {name}.step() after optimizer.step(), {plural(found.steps, 'time')} in all, or "
                         "once an epoch if it counts epochs", code=each)],
    }[found.kind]  # fmt: skip


def measures(found: Mismatch, part: float, often: float) -> list[Measure]:
    """The numbers that decided."""
    if found.kind in ("epochs", "accumulated"):
        return [Measure(quantity="calls / calls planned", value=found.done, comparison="<=", threshold=part,
                        unit="fraction", option="part")]  # fmt: skip
    if found.kind == "rising":
        return [Measure(quantity="last learning rate / that it was made with", value=found.reached, comparison="<",
                        threshold=HALF)]  # fmt: skip
    if found.kind in ("early", "in_epochs", "twice"):
        ended = Measure(quantity="share of the calls at which it is over", value=1 / found.done, comparison="<=",
                        threshold=part, unit="fraction", option="part")  # fmt: skip
        again = Measure(quantity="calls without a step since the last", value=found.repeated, comparison=">",
                        threshold=often, unit="fraction", option="often")  # fmt: skip
        return [ended, again] if found.kind == "twice" else [ended]
    if found.kind == "unknown":
        return [Measure(quantity="calls without a step since the last", value=found.repeated, comparison=">",
                        threshold=often, unit="fraction", option="often")]  # fmt: skip
    if found.kind == "plateau":
        return [Measure(quantity="patience, in calls", value=found.plan, comparison="<",
                        threshold=found.batches / found.epochs, unit="count")]  # fmt: skip
    if found.kind == "never":
        return [Measure(quantity="calls of step", value=found.calls, comparison="==", threshold=0, unit="count")]
    if found.kind == "before":
        return [Measure(quantity="calls of step", value=found.calls, comparison=">=", threshold=3, unit="count")]
    return [Measure(quantity="calls of step", value=found.calls, comparison=">=", threshold=3, unit="count")]
