"""BatchNorm evaluates with running statistics that never follow the data.

## What it looks for

The running mean and variance of each BatchNorm module in training mode, at the first step, at evaluations and at the
end. Statistics that stay bit for bit at mean 0 and variance 1 for `least` steps are a warning. So are statistics that
are still made of their initial values by more than `initial` at the last look: with momentum m, (1 - m) to the power of
the batches counted. Other statistics that never move, as those of a pretrained model, are a note, and so is a momentum
of `last_batch` or more, with which they are those of the last batch.

A copy that averages the weights has statistics of its own. It is a warning where it evaluates with those that it began
with, or, as torch's AveragedModel, with those of the trained model, since update_bn was not called.

## Why it matters

In training BatchNorm uses the statistics of the batch, in evaluation the running ones. If these do not fit, the network
that is evaluated is not the one that was trained: an accuracy of 0.46 in evaluation and of 1.00 in training was seen.

## What to try

torch's momentum is the weight of the new batch: 0.1 by default. Keras, TensorFlow and papers name the weight of the old
statistics, which is one minus that: 0.99 there is 0.01 here.

## When it is wrong

BatchNorm that is frozen by evaluation mode is not judged. Statistics that are estimated in a pass of their own after
the training, as for averaged weights, may be meant to rest until then.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, names, number, percent, plural, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import CopyFacts, NormFacts

_STEP, _BATCHES, _MEAN, _VARIANCE = range(4)  # of a look
_ROWS = 12


@dataclass(frozen=True)
class Limits:
    """When statistics are of no use."""

    least: float = 20.0  # steps; with momentum 0.1 12 % of the initial values are left by then
    initial: float = 0.5  # of the statistics; from here on the data has the smaller say in them
    last_batch: float = 0.9  # momentum; nine tenths of the statistics are those of one batch


class Frozen(Judged, frozen=True):
    """Running statistics that do not follow the data."""

    norms: tuple[NormFacts, ...]
    all: int  # BatchNorm modules in training mode
    share: float  # of the statistics, their initial values: the largest of these modules; a fraction
    steps: int
    batches: int  # counted by the first of them; -1 unknown
    unmoved: bool  # bit for bit what they were
    at_start: bool  # mean 0 and variance 1
    span: Span


class LastBatch(Judged, frozen=True):
    """Running statistics that are those of the last batch."""

    norms: tuple[NormFacts, ...]
    all: int
    momentum: float
    span: Span


class Unfilled(Judged, frozen=True):
    """A copy with averaged weights that evaluates with statistics these weights never made."""

    copy: CopyFacts
    span: Span


class Following(Judged, frozen=True):
    """Running statistics that follow the data."""

    norms: int
    share: float  # of the statistics, their initial values: the largest of all modules; a fraction


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    explains=("overfitting", "no_signal", "validation_better_than_train"),
)
def frozen_statistics(
    run: Run, limits: Limits
) -> Iterator[Frozen | LastBatch | Unfilled | Following | NotApplicable | Skipped]:
    """Compare the running statistics of BatchNorm modules at the start and at the end."""
    state = run.meta.model_state
    if not state.looked:
        yield Skipped(reason="running statistics were not recorded", enable="record again with this version")
        return
    unfilled = [copy for copy in state.copies if _is_unfilled(copy)]
    for copy in unfilled[:1]:
        yield Unfilled(copy, Span(first=copy.first, last=max(copy.first, copy.last - 1)))
    trained = [norm for norm in state.norms if norm.training and norm.last and _batches(norm) != 0]
    if not trained and not unfilled:
        yield NotApplicable(reason="no BatchNorm module keeps running statistics in training mode")
        return
    steps = max((_steps(norm) for norm in trained), default=0)
    if steps < limits.least:
        if unfilled:
            return
        yield Skipped(reason="the run is too short to see statistics move", enable="train for more steps")
        return
    span = Span(first=int(trained[0].first[_STEP] or 0), last=max(0, int(trained[0].last[_STEP] or 0) - 1))
    unmoved = [norm for norm in trained if not norm.moved]
    slow = [norm for norm in trained if norm.moved and _initial_share(norm) > limits.initial]
    at_start = [norm for norm in unmoved if not norm.last[_MEAN] and not norm.last[_VARIANCE]]
    other = [norm for norm in unmoved if norm not in at_start]
    for norms in (at_start, other, slow):
        if norms:
            yield Frozen(
                norms=tuple(norms), all=len(trained), share=max(_initial_share(norm) for norm in norms), steps=steps,
                batches=_batches(norms[0]), unmoved=norms is not slow, at_start=norms is at_start, span=span,
            )  # fmt: skip
    quick = [norm for norm in trained if norm.moved and (norm.momentum or 0.0) >= limits.last_batch]
    if quick:
        yield LastBatch(tuple(quick), len(trained), max(norm.momentum or 0.0 for norm in quick), span)
    if not unmoved and not slow and not quick and not unfilled:
        yield Following(len(trained), max(_initial_share(norm) for norm in trained))


def _is_unfilled(copy: CopyFacts) -> bool:
    if not copy.evaluated or copy.statistics_filled or not copy.changed or not copy.trained_moved:
        return False
    # The first write of an average copies the model, and its statistics fit.
    return not copy.statistics_moved or (copy.plain_average and copy.writes_evaluated > 1)


def _steps(norm: NormFacts) -> int:
    return int((norm.last[_STEP] or 0) - (norm.first[_STEP] or 0))


def _batches(norm: NormFacts) -> int:
    """Batches that the module took in between its first and last look; -1 where it does not count them."""
    first, last = norm.first[_BATCHES], norm.last[_BATCHES]
    return int(last - first) if first is not None and last is not None and first >= 0 else -1


def _initial_share(norm: NormFacts) -> float:
    """How much of the statistics is still what they were before the training; 0 where that is not known, or loaded."""
    if norm.momentum is None:
        return 0.0
    batches = _batches(norm) if _batches(norm) > 0 else _steps(norm)
    share = float((1 - min(1.0, norm.momentum)) ** (batches + 1))
    before, now = (look[_MEAN] for look in (norm.first, norm.last))
    # From 0 they have come as far as the momentum lets them; statistics that were loaded begin elsewhere.
    loaded = norm.moved and before is not None and now is not None and before > _HALF * now
    return 0.0 if loaded else share


_HALF = 0.5


@frozen_statistics.tell
def _clean(found: Following) -> Clean:
    return Clean(
        measured=f"the running statistics of {plural(found.norms, 'BatchNorm module')} move; "
        f"{percent(found.share)} of them are initial values at most"
    )


@frozen_statistics.tell
def _frozen(found: Frozen, run: Run, limits: Limits) -> Finding:
    wrong = found.at_start or not found.unmoved
    momentum = _momentum(found.norms)
    return Finding(
        is_measurement_issue=True,
        severity=Severity.WARNING if wrong else Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="Running statistics never move" if found.unmoved else "Running statistics hardly move",
        headline=_headline(found, momentum),
        explanation="In training BatchNorm normalises by the statistics of the batch, in evaluation by the running "
        "ones, and these do not follow the data: the network that is evaluated is not the one that was trained."
        + ("" if wrong else " They may come from a pretrained model and be kept on purpose."),
        span=found.span,
        evidence=[_table(found.norms)],
        actions=[
            Action(
                text=f"Set momentum=0.1 instead of {momentum} in {_of(run, found.norms)}",
                code=f"nn.{_class(run, found.norms[0])}(channels, momentum=0.1)",
            ),
            Action(
                text="Of a momentum taken from Keras, TensorFlow or a paper, use one minus that: torch's is the weight "
                "of the new batch"
            ),
        ],
        measures=[
            Measure(quantity="initial values left in the statistics", value=found.share, comparison=">",
                    threshold=limits.initial, unit="fraction", option="initial")
            if not found.unmoved
            else Measure(quantity="steps without a change", value=found.steps, comparison=">=",
                         threshold=limits.least, unit="count", option="least")
        ],
    )  # fmt: skip


@frozen_statistics.tell
def _quick(found: LastBatch, run: Run, limits: Limits) -> Finding:
    momentum = _momentum(found.norms)
    return Finding(
        is_measurement_issue=True,
        severity=Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="Statistics of the last batch",
        headline=f"With momentum {momentum} the running statistics are {percent(found.momentum)} the last batch's",
        explanation=f"In evaluation {_of(run, found.norms)} work with statistics that are hardly averaged: they are "
        "as noisy as one batch. In torch the momentum is the weight of the new batch.",
        span=found.span,
        evidence=[_table(found.norms)],
        actions=[
            Action(
                text=f"Set momentum={setting(max(0.01, 1 - found.momentum))} instead of {momentum}, if it was taken "
                "from Keras, TensorFlow or a paper"
            )
        ],
        measures=[
            Measure(quantity="momentum", value=found.momentum, comparison=">=", threshold=limits.last_batch,
                    option="last_batch")
        ],
    )  # fmt: skip


@frozen_statistics.tell
def _unfilled(found: Unfilled) -> Finding:
    copy = found.copy
    theirs = "those of the trained model" if copy.statistics_moved else "those that it began with"
    return Finding(
        is_measurement_issue=True,
        severity=Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Averaged model without update_bn",
        headline=f"Averaged {copy.name} evaluates after {plural(copy.writes_evaluated, 'update')} with running "
        "statistics not its own",
        explanation=f"BatchNorm of {copy.name} has seen no batch in training mode. Its statistics are {theirs}, and "
        "they do not fit the averaged weights: its evaluation is worse than these are.",
        span=found.span,
        evidence=[],
        actions=[
            Action(
                text=f"Fill the statistics of {copy.name} before each of its {plural(copy.evaluated, 'evaluation')}, "
                "or average the buffers, too",
                code=f"torch.optim.swa_utils.update_bn(train_loader, {copy.name})",
            )
        ],
        measures=[
            Measure(quantity="updates of the weights before the last evaluation", value=copy.writes_evaluated,
                    comparison=">=", threshold=1, unit="count"),
        ],
    )  # fmt: skip


def _headline(found: Frozen, momentum: str) -> str:
    through = plural(found.batches, "batch", "batches") if found.batches > 0 else plural(found.steps, "step")
    which = f"{count(len(found.norms))} of {plural(found.all, 'BatchNorm module')}"
    if found.at_start:
        return f"Momentum {momentum}: {which} stay at mean 0 and variance 1 through {through}"
    if found.unmoved:
        return f"Momentum {momentum}: {which} keep their running statistics through {through}"
    return f"Momentum {momentum}: {which} hold {percent(found.share)} initial values after {through}"


def _momentum(norms: tuple[NormFacts, ...]) -> str:
    return names(sorted({setting(norm.momentum) if norm.momentum is not None else "None" for norm in norms}), 2)


def _of(run: Run, norms: tuple[NormFacts, ...]) -> str:
    modules = names([norm.name for norm in norms], 3)
    return f"the {_class(run, norms[0])} {'module' if len(norms) == 1 else 'modules'} {modules}"


def _class(run: Run, norm: NormFacts) -> str:
    return next((module.module_class for module in run.meta.modules if module.name == norm.name), "BatchNorm2d")


def _table(norms: tuple[NormFacts, ...]) -> Numbers:
    return Numbers(
        title="Running statistics",
        caption="What is left of mean 0 and variance 1, and the norms of the distance to them.",
        columns=["module", "momentum", "batches", "initial values left", "|mean|", "|variance - 1|"],
        cells=[
            [norm.name, setting(norm.momentum) if norm.momentum is not None else "None", count(_batches(norm)),
             percent(_initial_share(norm)) if norm.moved else "100 %",
             *(number(value) if value is not None else "not finite" for value in norm.last[_MEAN:])]
            for norm in norms[:_ROWS]
        ],
    )  # fmt: skip
