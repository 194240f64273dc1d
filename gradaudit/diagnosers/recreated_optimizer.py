"""The optimizer is made anew again and again over the same parameters, and forgets what it had gathered.

## What it looks for

Optimizers of one class that are made over the same parameters, one after the other, with no state loaded and while the
weights go on from where they were. More than `often` is a warning where each makes fewer steps than `memory` times
those that it remembers: 1 / (1 - beta2) of Adam, 1 / (1 - momentum) of SGD. Else it is a note. Fewer are no finding:
phases of a training have optimizers of their own. Optimizers that keep nothing between steps are not judged.

## Why it matters

Momentum and Adam's averages start at 0 each time: the first steps follow single batches, and Adam's are as long as the
learning rate whatever the gradient is. The loss jumps there, and a scheduler that holds the old optimizer sets the
learning rate of nothing.

## What to try

Make the optimizer once, before the loop. To change the learning rate set `param_group["lr"]`; to train further
parameters call `add_param_group`; to go on from a checkpoint call `load_state_dict`.

## When it is wrong

Federated averaging, Reptile and other methods of rounds start each with a new optimizer by definition.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from gradaudit.chart_data import Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, plural, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import OptimizerFacts, OptimizerLives
from gradaudit.signals.order_statistics import median

_MARKS = 40  # in the chart: closer together they are a band


@dataclass(frozen=True)
class Limits:
    """How often an optimizer may be made anew, and how long each has to last."""

    often: float = 4  # times; a training of phases has as many, and cross-validation five
    memory: float = 1.0  # a choice: from there on an average has seen as much as it ever will


class Recreated(Judged, frozen=True):
    """An optimizer that is made anew over the same parameters."""

    optimizer: int
    name: str  # its class
    lost: int  # times that it began empty
    life: float  # steps of each, median
    remembers: float  # steps; NaN unknown
    at: list[int]  # global steps
    rate: float  # the learning rate that it is made with; NaN unknown
    span: Span


class Kept(Judged, frozen=True):
    """No optimizer loses much."""

    optimizers: int
    lost: int  # the most of one


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    minimum_steps=5,
    explains=("loss_spike", "unstable_loss", "premature_plateau", "no_learning", "learning_rate_too_high",
              "gradient_growth", "divergence"),
)  # fmt: skip
def recreated_optimizer(run: Run, limits: Limits) -> Iterator[Recreated | Kept | Skipped]:
    """Count how often each optimizer was made."""
    facts = run.meta.schedules
    if not facts.recorded:
        yield Skipped(reason="optimizers made anew were not recorded", enable="record again with this version")
        return
    judged = [one for one in facts.lives if one.stateful and not one.alternating]
    many = [one for one in judged if one.lost > limits.often]
    for one in many:
        made = next((each for each in run.meta.optimizers if each.id == one.optimizer), None)
        if made is not None:
            yield _recreated(run, one, made)
    if not many:
        yield Kept(len(run.meta.optimizers), max((one.lost for one in judged), default=0))


def _recreated(run: Run, one: OptimizerLives, made: OptimizerFacts) -> Recreated:
    rate, last = made.defaults.get("lr"), int(run.steps["global_step"].iloc[-1])
    return Recreated(
        optimizer=one.optimizer,
        name=made.optimizer_class,
        lost=one.lost,
        life=median(numpy.asarray(one.lives, dtype=numpy.float64)),
        remembers=_memory(made),
        at=list(one.at),
        rate=float(rate) if isinstance(rate, int | float) else math.nan,
        span=Span(first=min(one.at, default=0), last=max(last, *one.at) if one.at else last),
    )


def _memory(made: OptimizerFacts) -> float:
    """The steps that the slowest of an optimizer's averages goes back."""
    betas, kept = made.defaults.get("betas"), made.defaults.get("momentum", made.defaults.get("alpha"))
    slowest = max((one or 0 for one in betas), default=0) if isinstance(betas, list) else kept
    return 1 / (1 - slowest) if isinstance(slowest, int | float) and 0 <= slowest < 1 else math.nan


@recreated_optimizer.tell
def _kept(found: Kept) -> Clean:
    return Clean(
        measured=f"{plural(found.optimizers, 'optimizer')}, made anew without its state {plural(found.lost, 'time')}"
    )


@recreated_optimizer.tell
def _finding(found: Recreated, run: Run, limits: Limits) -> Finding:
    short = found.life < limits.memory * found.remembers
    rate = setting(found.rate) if found.rate > 0 else "..."
    remembers = f" It would remember about {plural(found.remembers, 'step')}." if found.remembers > 0 else ""
    return Finding(
        severity=Severity.WARNING if short else Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="Optimizer made anew",
        headline=f"{found.name} is made anew {plural(found.lost, 'time')}, about every {plural(found.life, 'step')}, "
        "and forgets its state",
        explanation=f"Each begins with nothing, over the same parameters, at step {count(found.at[0])} for the first "
        f"time.{remembers}"
        if found.at
        else f"Each begins with nothing, over the same parameters.{remembers}",
        span=found.span,
        evidence=[
            loss_chart(
                run.training(found.optimizer),
                "The training loss; the marks are where the optimizer is made anew.",
                [Mark(label="", x=step) for step in found.at[:_MARKS]],
            )
        ],
        actions=[
            Action(
                text=f"Make {found.name} once, before the loop: move this line out of it",
                code=f"optimizer = torch.optim.{found.name}(model.parameters(), lr={rate})",
            ),
            Action(
                text=f"To change its learning rate of {rate}, set that of its groups",
                code='for group in optimizer.param_groups:\n    group["lr"] = new_rate',
            ),
        ],
        measures=[
            Measure(quantity="times made anew and empty", value=found.lost, comparison=">", threshold=limits.often,
                    unit="count", option="often"),
            Measure(quantity="steps of each / steps that it remembers", value=found.life / found.remembers,
                    comparison="<", threshold=limits.memory, option="memory", decides="warning"),
        ],
    )  # fmt: skip
