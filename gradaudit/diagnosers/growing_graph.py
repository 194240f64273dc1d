"""The autograd graph grows from step to step: a tensor of an earlier step keeps its history.

## What it looks for

The number of operations behind each backward of the first steps, and of steps that double, and how many steps before
it the oldest of these was made. The graph reaches back over `steps` steps or more and over the share `share` of all
steps so far, and it has at least `growth` times as many operations as the first one. How much longer a step takes in
the last quarter of the run than in the first is told beside it, and decides nothing.

## Why it matters

Each step computes gradients through all steps before it: time and memory grow until the run ends
with an out-of-memory error, and the gradient is taken with weights that have changed since.

## What to try

Detach what is carried over to the next step: a hidden state, a running loss, a memory, a moving average. A backward
that needs `retain_graph=True` in an ordinary loop is the sign of it.

## When it is wrong

Truncated backpropagation through time over a fixed number of steps reaches back a fixed number of steps, and is not
reported. An inner loop whose whole history is wanted, as in meta-learning, is one step of the outer optimizer.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from gradaudit.chart_data import Lines
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.wording import count, number, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import GraphLookFacts
from gradaudit.signals.run.slowdown import slowdown

_SLOWER = 1.2  # times: steps of one run differ by less in their medians


@dataclass(frozen=True)
class Limits:
    """From where on a graph grows."""

    steps: float = 16.0  # truncated backpropagation over a few steps is common, and reaches no further
    share: float = 0.5  # of all steps so far; a fixed reach falls below it as a run goes on
    growth: float = 2.0  # batches of other lengths change a graph by less over the looks of one run


class Growing(Judged, frozen=True):
    """The graph reaches back into earlier steps, further with each."""

    first_nodes: int
    nodes: int
    step: int  # of the graph that reaches furthest
    reach: int  # steps
    steps: tuple[int, ...]
    counts: tuple[int, ...]  # nodes at each
    slower: float = math.nan  # median seconds of a step in the last quarter over those in the first; NaN unknown


class Constant(Judged, frozen=True):
    """It does not."""

    looks: int
    nodes: int  # the most
    reach: int


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    minimum_steps=20,
    explains=("exploding_gradient", "gradient_growth", "unstable_loss", "constant_clipping", "divergence"),
)
def growing_graph(run: Run, limits: Limits) -> Iterator[Growing | Constant | NotApplicable | Skipped]:
    """Compare the graphs of an optimizer's steps with one another."""
    looks = run.meta.graph.looks
    if not looks:
        yield Skipped(reason="the graph behind the objective was not recorded", enable="record again with this version")
        return
    groups: dict[tuple[int, ...], list[GraphLookFacts]] = {}
    for look in looks:
        groups.setdefault(tuple(look.optimizers), []).append(look)
    found = [one for group in groups.values() if (one := _growing(group, limits)) is not None]
    if found:
        yield msgspec.structs.replace(max(found, key=lambda one: one.reach), slower=slowdown(run))
    else:
        yield Constant(len(looks), max(look.nodes for look in looks), max(look.reaches_back for look in looks))


def _growing(looks: list[GraphLookFacts], limits: Limits) -> Growing | None:
    furthest = max(looks, key=lambda look: look.reaches_back)
    far = furthest.reaches_back >= limits.steps and furthest.reaches_back >= limits.share * furthest.step
    first = looks[0]
    if not far or furthest.nodes < limits.growth * max(1, first.nodes):
        return None
    return Growing(
        first_nodes=first.nodes,
        nodes=furthest.nodes,
        step=furthest.step,
        reach=furthest.reaches_back,
        steps=tuple(look.step for look in looks),
        counts=tuple(look.nodes for look in looks),
    )


@growing_graph.tell
def _constant(found: Constant) -> Clean:
    return Clean(
        measured=f"{plural(found.looks, 'graph')} of {plural(found.nodes, 'operation')} at most, which reach back "
        f"{plural(found.reach, 'step')} at most"
    )


@growing_graph.tell
def _finding(found: Growing, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Growing autograd graph",
        headline=f"The graph of step {count(found.step)} reaches back {plural(found.reach, 'step')}: "
        f"{count(found.nodes)} operations, {count(found.first_nodes)} at first",
        explanation=f"Behind the backward of step {count(found.step)} lie operations that were made "
        f"{plural(found.reach, 'step')} before it, so a tensor that the script carries from step to step keeps its "
        f"history. The graph has {count(found.nodes)} operations, "
        f"{number(found.nodes / max(1, found.first_nodes))} times as many as the first one."
        + (
            f" A step in the last quarter of the run takes {number(found.slower)} times as long as one in the first."
            if found.slower >= _SLOWER
            else ""
        ),
        span=Span(first=min(found.steps), last=max(found.steps)),
        evidence=[
            Lines(
                title="Operations behind a backward",
                caption="The size of the autograd graph at some steps. Where nothing is kept it stays level.",
                x_label="step",
                y_label="operations",
                series=[plain("operations", list(found.steps), list(found.counts))],
            )
        ],
        actions=[
            Action(
                text="Detach what the loop carries over to the next step, such as a hidden state or a running loss",
                code="hidden = hidden.detach()",
            ),
            Action(text="Remove retain_graph=True from backward: then torch names the operation of an earlier step"),
        ],
        measures=[
            Measure(quantity="steps that the graph reaches back", value=found.reach, comparison=">=",
                    threshold=limits.steps, unit="count", option="steps"),
            Measure(quantity="share of the steps so far", value=found.reach / max(1, found.step), comparison=">=",
                    threshold=limits.share, option="share"),
            Measure(quantity="operations / those of the first graph", value=found.nodes / max(1, found.first_nodes),
                    comparison=">=", threshold=limits.growth, option="growth"),
            Measure(quantity="seconds of a step in the last quarter / in the first", value=found.slower,
                    comparison=">=", threshold=_SLOWER, decides="cause"),
        ],
    )  # fmt: skip
