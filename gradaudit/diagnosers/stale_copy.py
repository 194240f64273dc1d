"""A copy of the trained model never follows it: a target network, a teacher or an average.

## What it looks for

Modules in no optimizer that have the names and shapes of a trained one, and whose weights are the same at every look.
One that is written to `writes` times or more and stays bit for bit the same is copied from itself, or averaged with
weight 0. One that was never written to in `least` steps is a warning where it holds nothing learned: its weights are
those of an initialisation, and it is called in training on other inputs than the trained module. One that began as a
copy of trained weights is a note.

And an average that lags: one that is changed at most once in `seldom` steps, is not called in training, and whose
distance to the trained weights ends within `near` of its largest, as that of a copy that is never updated does. It is a
warning where that distance is `far` of the norm of the weights or more.

## Why it matters

A target network that never follows is that of an untrained model: the values learned from it are those of chance, and a
teacher like it teaches noise. The loss falls all the same.

## What to try

Copy the weights of the trained module every so many steps, or average them in at each step. Look at the name on the
left and at the one in the brackets: both the same is the usual mistake.

## When it is wrong

Reference models (DPO, RLHF), frozen teachers, feature extractors and random targets (RND) rest on purpose: they are
given what the trained module is given, or their weights were learned before. Those are not reported, or as a note. A
run may end before a first copy that is made every many thousand steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Lines
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.wording import count, names, number, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import CopyFacts

_FEW = 8  # looks
_LONGEST = 30  # characters of a name in a headline
_DEFAULT = (0.85, 1.001)  # the largest weight of torch's own initialisation, over its bound


@dataclass(frozen=True)
class Limits:
    """When a copy is stale."""

    writes: float = 2.0  # one may be the loading of its weights
    seldom: float = 10.0  # steps for each change; a decay of 0.99 or more is meant for every step
    near: float = 0.9  # of the largest distance; an average that follows comes closer as training slows down
    far: float = 0.1  # of the norm; the trained weights are elsewhere
    least: float = 500.0  # steps; copies are made every 50 to 500 of them in common programs


class Stale(Judged, frozen=True):
    """A copy that never follows what it is a copy of."""

    facts: CopyFacts
    written: bool  # it is written to, and stays what it is
    untrained: bool  # its weights are those of an initialisation
    meant: bool  # it may rest on purpose
    steps: int
    span: Span
    others: tuple[str, ...] = ()  # copies of which the same is true


class Lags(Judged, frozen=True):
    """An average that is updated too seldom to follow."""

    facts: CopyFacts
    steps: int
    gap: float  # distance to the trained weights at the end, over their norm
    of_largest: float  # of the largest distance seen
    span: Span


class Follows(Judged, frozen=True):
    """Copies that follow, or rest on purpose."""

    copies: tuple[CopyFacts, ...]
    follow: int


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    explains=(
        "no_learning",
        "no_signal",
        "premature_plateau",
        "unstable_loss",
        "loss_spike",
        "divergence",
        "gradient_growth",
        "learning_rate_too_high",
        "learning_rate_too_low",
        "learning_rate_schedule",
    ),
)
def stale_copy(run: Run, limits: Limits) -> Iterator[Stale | Lags | Follows | NotApplicable | Skipped]:
    """Look at the copies of trained modules that never change."""
    state = run.meta.model_state
    if not state.looked:
        yield Skipped(reason="copies of modules were not recorded", enable="record again with this version")
        return
    if state.copies_unknown:
        yield Skipped(reason=state.copies_unknown, enable="record a smaller model on one device")
        return
    copies = [one for one in state.copies if one.trained_moved and not one.has_grad and _apart(one)]
    if not copies:
        yield NotApplicable(reason="no module outside of the optimizers has the shapes of a trained one")
        return
    stale = [found for one in copies if (found := _judged(one, limits)) is not None]
    late = [lags for one in copies if (lags := _lagging(one, limits)) is not None]
    for severity in Severity:
        alike = [found for found in stale if _severity(found) == severity]
        if alike:
            lead = max(alike, key=lambda found: (found.written, found.facts.elements))
            others = tuple(found.facts.name for found in alike if found is not lead)
            yield Stale(**{**{name: getattr(lead, name) for name in lead.__struct_fields__}, "others": others})
    yield from late
    wrong = bool(stale or late)
    if not wrong:
        yield Follows(tuple(copies), sum(one.changed > 0 for one in copies))


def _apart(copy: CopyFacts) -> bool:
    """Whether a module is no branch of the model that is trained: such a one is called with gradients."""
    return not copy.same_model or copy.called == copy.without_grad


def _judged(copy: CopyFacts, limits: Limits) -> Stale | None:
    """What is wrong with a copy; None where it follows, rests on purpose or is not used."""
    if copy.changed:
        return None
    steps = copy.last - copy.first
    written = copy.writes >= limits.writes
    untrained = _untrained(copy)
    # A reference model is asked about what the trained one is asked about.
    reference = 2 * copy.same_input >= copy.compared
    used = copy.called > 0 and copy.compared > 0 and not reference
    rests = steps >= limits.least and used and (untrained or copy.equal_at_first)
    if not written and not rests:
        return None
    span = Span(first=copy.first, last=max(copy.first, copy.last - 1))
    meant = not written and not untrained
    return Stale(facts=copy, written=written, untrained=untrained, meant=meant, steps=steps, span=span)


def _lagging(copy: CopyFacts, limits: Limits) -> Lags | None:
    """An average that is hardly updated; a teacher is called in training, and a checkpoint falls to distance 0."""
    gaps = [gap for _, gap in copy.distances if gap is not None]
    steps = copy.last - copy.first
    averaged = copy.equal_at_first and copy.equal == 1 and limits.writes <= copy.writes <= steps / limits.seldom
    if not averaged or copy.changed < limits.writes or 4 * copy.called > copy.watched or len(gaps) < _FEW:
        return None
    if gaps[-1] < limits.far or gaps[-1] < limits.near * max(gaps):
        return None
    span = Span(first=copy.first, last=max(copy.first, copy.last - 1))
    return Lags(facts=copy, steps=steps, gap=gaps[-1], of_largest=gaps[-1] / max(gaps), span=span)


def _untrained(copy: CopyFacts) -> bool:
    """Whether the weights are those of an initialisation: within torch's own, or with vectors that are constant."""
    own = copy.bound is not None and _DEFAULT[0] <= copy.bound <= _DEFAULT[1]
    return own or copy.spread == 0.0


@stale_copy.tell
def _clean(found: Follows) -> Clean:
    rest = len(found.copies) - found.follow
    resting = f"; {plural(rest, 'copy', 'copies')} rest, used as references or not at all" if rest else ""
    return Clean(measured=f"{plural(found.follow, 'copy', 'copies')} of trained modules change{resting}")


@stale_copy.tell
def _finding(found: Stale, limits: Limits) -> Finding:
    copy = found.facts
    return Finding(
        severity=_severity(found),
        confidence=Confidence.CERTAIN,
        title="Target copied from itself" if found.written else "Copy never updated",
        headline=_headline(found),
        explanation=_explanation(found),
        span=found.span,
        evidence=[_chart(copy)],
        actions=[
            Action(
                text=f"Copy {copy.of} into {copy.name}, not {copy.name} into itself"
                if found.written
                else f"Copy {copy.of} into {copy.name} every 100 steps or so, or average 1 % of it in at each",
                code=f"{copy.name}.load_state_dict({copy.of}.state_dict())",
            ),
            Action(text=f"Right after a copy compare {copy.name} with {copy.of}: no weight may differ"),
        ],
        measures=[
            Measure(quantity="writes without a change", value=copy.writes, comparison=">=", threshold=limits.writes,
                    unit="count", option="writes")
            if found.written
            else Measure(quantity="steps without a change", value=found.steps, comparison=">=",
                         threshold=limits.least, unit="count", option="least")
        ],
    )  # fmt: skip


@stale_copy.tell
def _lags(found: Lags, limits: Limits) -> Finding:
    copy = found.facts
    name = copy.name if len(copy.name) <= _LONGEST else f"…{copy.name[1 - _LONGEST :]}"
    each = found.steps / copy.writes
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Average updated too seldom",
        headline=f"Average {name} is updated {plural(copy.writes, 'time')} in {plural(found.steps, 'step')}, and stays "
        f"{percent(found.gap)} away",
        explanation=f"{copy.name} began as a copy of {copy.of}. Its distance to the trained weights ends at "
        f"{percent(found.of_largest)} of the largest: most of it still is what the training began with. A decay of "
        f"0.99 forgets half of that in 69 updates, and an update is made every {count(each)} steps.",
        span=found.span,
        evidence=[_chart(copy)],
        actions=[
            Action(
                text=f"Update {copy.name} after each optimizer.step(), in the batch loop and not in that of epochs",
                code=f"optimizer.step()\nupdate({copy.name}, {copy.of})",
            ),
            Action(text=f"Or lower its decay: to 0.5 for an update every {count(each)} steps"),
        ],
        measures=[
            Measure(quantity="steps for each update", value=each, comparison=">=", threshold=limits.seldom,
                    option="seldom"),
            Measure(quantity="distance at the end / largest", value=found.of_largest, comparison=">=",
                    threshold=limits.near, unit="fraction", option="near"),
            Measure(quantity="distance at the end / norm", value=found.gap, comparison=">=", threshold=limits.far,
                    unit="fraction", option="far"),
        ],
    )  # fmt: skip


def _severity(found: Stale) -> Severity:
    if found.meant:
        return Severity.NOTE
    return Severity.CRITICAL if found.written and found.untrained else Severity.WARNING


def _headline(found: Stale) -> str:
    copy = found.facts
    name = copy.name if len(copy.name) <= _LONGEST else f"…{copy.name[1 - _LONGEST :]}"
    if found.written:
        writes = plural(copy.writes, "time")
        return f"The copy {name} is written to {writes} and never changes in {plural(found.steps, 'step')}"
    return f"The copy {name} is used and never updated in {plural(found.steps, 'step')}, while its original trains"


def _explanation(found: Stale) -> str:
    copy = found.facts
    start = "began as a copy of" if copy.equal_at_first else "has the shapes of"
    parts = [f"The module {copy.name} {start} {copy.of}, and no optimizer holds it."]
    if found.written:
        parts.append("What is written to its weights is what they are: it is copied from itself, or averaged with 0.")
    if found.untrained:
        parts.append("Its weights are those of an initialisation: whatever is learned from it is learned from chance.")
    elif found.meant:
        parts.append("A reference that was trained before may rest on purpose.")
    if found.others:
        parts.append(f"The same goes for {names(list(found.others), 3)}.")
    gaps = [gap for _, gap in copy.distances if gap is not None]
    if gaps:
        parts.append(f"Its distance to the trained weights is {number(gaps[-1])} of their norm at the end.")
    return " ".join(parts)


def _chart(copy: CopyFacts) -> Lines:
    rows = [(step, gap) for step, gap in copy.distances if step is not None and gap is not None]
    return Lines(
        title="Distance to the trained weights",
        caption=f"Of {copy.name}, over the norm of the trained weights, at {count(copy.looks)} looks: a copy falls to "
        "0 whenever it is made.",
        x_label="step",
        y_label="distance / norm",
        series=[plain("distance", [step for step, _ in rows], [gap for _, gap in rows])],
    )
