"""The memory in use grows with every step, or the graphs of earlier losses are kept alive.

## What it looks for

The resident memory of the process and what torch has allocated on the device, at steps a quarter apart and every
minute. What counts begins after the first epoch and a tenth of the run. Memory grows steadily where it gains at least
`grown` of what it was there, and `least` megabytes, and each third of the rest gains at least `steady` of what the
fastest third does per step. Beside it some graphs are marked, of objectives and of losses that are evaluated without
`torch.no_grad()`: where more than `kept` of those of earlier losses still exist at the end, the script holds on to its
losses, which is a warning with growth, or where all of `every` or more exist, and else a note. Growth on the device is
a warning, too; that of the host alone is a note.

## Why it matters

`total += loss` keeps the graph of every loss, and a list of outputs keeps the outputs. Memory runs out after hours,
long after the line that filled it.

## What to try

Keep numbers, not tensors: `total += loss.item()`, `outputs.append(output.detach().cpu())`. Evaluate within
`torch.no_grad()`: a graph that no backward goes through keeps all that the forward pass computed.

## When it is wrong

Replay buffers, results that are gathered on purpose and data that is cached as it is first read grow steadily, up to
their end. A process that reads a memory-mapped file counts what it has read.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.memory import memory_chart
from gradaudit.evidence.words.wording import count, number, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import GraphsKept
from gradaudit.signals.run.memory import MEGABYTE, MemoryCourse, memory_course

_FEW, _HALF = 3, 0.5  # graphs; of the run, that the oldest of them goes back


@dataclass(frozen=True)
class Limits:
    """How much memory may grow, and how evenly."""

    grown: float = 0.5  # of what it was: allocators and caches of a healthy run stay below
    least: float = 64.0  # megabytes; what a small process gains by itself
    steady: float = 0.5  # of the fastest third; a warmup or a cache that fills up has ended by the last
    every: float = 16.0  # graphs; nothing that is let go at times keeps so many, one and all, through half of a run
    kept: float = 0.9  # of the graphs marked; a script that keeps its best or last one keeps few


class Growth(Judged, frozen=True):
    """Memory that grows, or graphs that are kept."""

    course: MemoryCourse | None  # of the memory that grows steadily; None where only graphs are kept
    graphs: int  # kept
    marked: int
    back: int  # steps from the oldest one kept to the last look
    evaluated: bool  # they are those of losses without a backward
    span: Span


class Level(Judged, frozen=True):
    """Memory that does not grow."""

    first: float  # bytes; NaN unknown
    last: float
    samples: int


@diagnoser(worst=Severity.WARNING, needs=("steps",), minimum_steps=50)
def memory_growth(run: Run, limits: Limits) -> Iterator[Growth | Level | Skipped]:
    """Hold the growth of three thirds of the run against each other."""
    facts = run.meta.schedules
    if not facts.recorded or not facts.memory:
        yield Skipped(reason="memory was not recorded", enable="record again with this version")
        return
    courses = [course for kind in ("device", "host") if (course := memory_course(run, kind)) is not None]
    growing = [one for one in courses if _grows(one, limits)]
    last = int(run.steps["global_step"].iloc[-1])
    held = [one for one in (facts.graphs, facts.evaluation_graphs) if _is_kept(one, last, limits)]
    graphs = held[0] if held else facts.graphs
    if growing or held:
        first = min(growing[0].first_step, last) if growing else max(0, last - graphs.steps)
        yield Growth(
            course=growing[0] if growing else None,
            graphs=graphs.alive if held else 0,
            marked=graphs.marked,
            back=graphs.steps,
            evaluated=bool(held) and graphs is facts.evaluation_graphs,
            span=Span(first=first, last=last),
        )
        return
    host = next((one for one in courses if one.kind == "host"), None)
    yield Level(host.first if host else math.nan, host.last if host else math.nan, len(facts.memory))


def _is_kept(graphs: GraphsKept, last: int, limits: Limits) -> bool:
    return graphs.alive > max(_FEW, limits.kept * graphs.marked) and graphs.steps >= _HALF * last


def _grows(course: MemoryCourse, limits: Limits) -> bool:
    gained = course.last - course.first
    even = min(course.rates) >= limits.steady * max(course.rates) and min(course.rates) > 0
    return gained >= limits.grown * course.first and gained >= limits.least * MEGABYTE and even


@memory_growth.tell
def _level(found: Level) -> Clean:
    if not math.isfinite(found.first):
        return Clean(measured=f"{plural(found.samples, 'sample')} of memory, too few to judge growth")
    mega = (f"{number(value / MEGABYTE)} MB" for value in (found.first, found.last))
    return Clean(measured="resident memory goes from {} to {} after the start".format(*mega))


@memory_growth.tell
def _finding(found: Growth, run: Run, limits: Limits) -> Finding:
    course = found.course
    bad = course is not None and (bool(found.graphs) or course.kind == "device")
    bad = bad or found.graphs == found.marked >= limits.every
    return Finding(
        severity=Severity.WARNING if bad else Severity.NOTE,
        confidence=Confidence.CERTAIN if found.graphs else Confidence.MEDIUM,
        title=_title(found),
        headline=_headline(found),
        explanation=_explanation(found),
        span=found.span,
        evidence=[chart] if (chart := memory_chart(run)).series else [],
        actions=[
            *([_NO_GRAD] if found.evaluated else []),
            Action(
                text="Keep the number of each loss, loss.item(), and not the tensor"
                if found.graphs
                else "Look for a list, dict or sum that the loop adds to, and keep numbers in it, no tensors",
                code="total += loss.item()",
            ),
            Action(
                text="Outputs that are gathered leave their graph behind with detach()",
                code="outputs.append(output.detach().cpu())",
            ),
        ],
        measures=_measures(found, limits),
    )


_NO_GRAD = Action(
    text="Evaluate within no_grad(), so that no graph is made, and keep 1 number of each loss",
    code="with torch.no_grad():\n    loss = criterion(model(x), y)\nhistory.append(loss.item())",
)


def _title(found: Growth) -> str:
    if not found.graphs:
        return "Memory grows with every step"
    return "Evaluation losses kept with graphs" if found.evaluated else "Losses kept with their graphs"


def _headline(found: Growth) -> str:
    course = found.course
    if course is None:
        of = "evaluated" if found.evaluated else "earlier"
        return f"{count(found.graphs)} of {plural(found.marked, 'graph')} of {of} losses still exist at the end"
    where = "Device memory" if course.kind == "device" else "Memory of the process"
    return (
        f"{where} grows by {_size(course.per_step)} a step, from {number(course.first / MEGABYTE)} to "
        f"{number(course.last / MEGABYTE)} MB"
    )


def _size(size: float) -> str:
    return f"{number(size / 1e6)} MB" if size >= 1e6 else f"{number(size / 1e3)} kB"


def _explanation(found: Growth) -> str:
    if not found.graphs:
        return "It grows as fast at the end as at the start, so that something is kept at every step."
    kept = f"{count(found.graphs)} of {plural(found.marked, 'graph')} that were marked still exist"
    whose = (
        "the script keeps losses that it evaluates with gradients enabled, and with each what the forward pass computed"
        if found.evaluated
        else "the script keeps its losses with their graphs"
    )
    return f"{kept}, the oldest for {plural(found.back, 'step')}: {whose}."


def _measures(found: Growth, limits: Limits) -> list[Measure]:
    course = found.course
    measures = []
    if course is not None:
        gained = course.last - course.first
        measures = [
            Measure(quantity="growth / memory after the first tenth", value=gained / course.first, comparison=">=",
                    threshold=limits.grown, unit="fraction", option="grown", any_of="growth"),
            Measure(quantity="growth in MB", value=gained / MEGABYTE, comparison=">=", threshold=limits.least,
                    option="least"),
            Measure(quantity="growth of the slowest third / the fastest", value=min(course.rates) / max(course.rates),
                    comparison=">=", threshold=limits.steady, unit="fraction", option="steady"),
        ]  # fmt: skip
    if found.graphs:
        measures.append(
            Measure(quantity="graphs that exist / marked", value=found.graphs / max(1, found.marked), comparison=">",
                    threshold=limits.kept, unit="fraction", option="kept", any_of="growth")
        )  # fmt: skip
    return measures
