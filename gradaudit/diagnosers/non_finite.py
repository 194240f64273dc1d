"""The loss, a gradient or a weight is NaN or infinite.

## What it looks for

The first step at which the loss, any gradient or any weight is NaN or infinite. This is exact: one such number is
enough. It then looks at the 10 steps before. A loss above `rise` times the first loss there, or a median
update-to-weight ratio above `fast`, means that training had already diverged. Otherwise one operation produced it: in
the backward pass where the loss is still finite, else in the forward pass. There the batch, the sampled input of the
loss and the weights before the step tell more. Steps that a GradScaler skipped because of an overflow are left to
`amp_overflow`.

## Why it matters

NaN spreads: one NaN gradient makes every weight that it updates NaN, and every loss after that. From there on the run
does not train.

## What to try

If the loss rose first, lower the learning rate, warm up, or scale the target: NaN is the end of a divergence. If
it did not, find the operation. Where the loss itself is NaN it is in the forward pass: a forward hook on every module
names the first whose output is not finite. Where only gradients are, `torch.autograd.set_detect_anomaly(True)` names
the forward line whose backward first gave NaN. The usual ones are `sqrt` or `norm` at 0, `log` of 0, a division by 0,
`exp` of a large number, the standard deviation of one value, and a mask that leaves a row of a softmax without entries.

## When it is wrong

The numbers are exact, and the cause is inferred from the steps before. With thinned statistics (`--every N`) a
gradient can be NaN some steps before the first record that shows it. A loss that is NaN only because a batch has no
valid target does no harm; it is reported as a warning.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.chart_data import AnyEvidence, Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart, update_chart
from gradaudit.evidence.words.broken_forward import (
    already_broken,
    batch_in_words,
    find_in_forward,
    first_module,
    fix_batch,
)
from gradaudit.evidence.words.clipping import clip_norm
from gradaudit.evidence.words.close_look import look_at_operation, look_closely, operation_in_words
from gradaudit.evidence.words.non_finite_onset import affected, find_in_backward, subject, where_it_broke
from gradaudit.evidence.words.optimizers import label_of, rate_in_words
from gradaudit.evidence.words.wording import count, names, number, plural, setting, times
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Span
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.gradients.finiteness import (
    NonFiniteOnset,
    diverged_before,
    non_finite_onset,
    typical_loss_before,
)
from gradaudit.signals.loss.odd_batch import Batch, batch_at
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.run.operations import BrokenOperation, first_broken
from gradaudit.training import Training

_LONGEST = 110  # characters of a headline
_LONGEST_SPLIT = 20  # of a split's name in a title


class Limits(msgspec.Struct, frozen=True):
    """From where on a training had diverged before its first NaN or infinity."""

    rise: float = 3.0  # separated all 23 runs that diverged first from all 18 with one bad operation
    fast: float = 0.3  # 398 of 404 healthy runs never reach it


class NonFinite(Judged, frozen=True):
    """The loss, a gradient or a weight of one training is NaN or infinite."""

    onset: NonFiniteOnset
    at_start: bool  # a weight was so before the first step of the run
    diverged: bool  # in the steps before; else one operation broke it
    loss_seen: bool  # some loss of the run is finite
    loss_before: float  # median over the steps before; NaN when it is the first step
    batch: Batch  # of the first such step; of nothing special where the cause is another one
    rates: Floats  # [parameter groups] the learning rates of that step
    last: int  # global step, of the run
    operation: BrokenOperation | None  # the first one, where operations were recorded


class Finite(Judged, frozen=True):
    """All losses and gradients of one training are finite."""

    training: Training
    losses: int
    recorded: int  # steps with tensor statistics
    tensors: int  # with a gradient
    skipped: int  # steps that the GradScaler skipped


class NonFiniteEvaluations(Judged, frozen=True):
    """Validation losses are NaN or infinite, and no training loss is."""

    split: str
    steps: tuple[int, ...]  # global steps before these evaluations
    evaluations: int  # all
    span: Span


@diagnoser(worst=Severity.CRITICAL, needs=("steps",), minimum_steps=1)
def non_finite(run: Run, limits: Limits) -> Iterator[NonFinite | Finite | NonFiniteEvaluations]:
    """Report the first NaN or infinity, and whether training had diverged before."""
    onsets = [non_finite_onset(training) for training in run.trainings]
    for training, onset in zip(run.trainings, onsets, strict=True):
        yield _finite(training) if onset is None else _non_finite(onset, limits)
    if all(onset is None for onset in onsets):
        yield from _evaluations(run)


def _non_finite(onset: NonFiniteOnset, limits: Limits) -> NonFinite:
    training, diverged = onset.training, diverged_before(onset)
    steps, rates = training.steps["global_step"].to_numpy(), training.learning_rates
    return NonFinite(
        onset=onset,
        at_start=onset.before_step and onset.step == int(steps[0]),
        diverged=diverged,
        loss_seen=bool(numpy.isfinite(training_loss(training).values).any()),
        loss_before=typical_loss_before(onset),
        batch=Batch() if diverged or onset.before_step else batch_at(training, onset.step),
        rates=rates[int(numpy.argmax(steps >= onset.step))] if len(rates) else numpy.zeros(0),
        last=int(steps.max()),
        operation=first_broken(training.run, onset.step),
    )


def _finite(training: Training) -> Finite:
    return Finite(
        training=training,
        losses=len(training.steps),
        recorded=len(training.recorded),
        tensors=int(training.matrix("has_grad").any(axis=0).sum()),
        skipped=int(training.steps["skipped"].fillna(False).sum()),
    )


def _evaluations(run: Run) -> Iterator[NonFiniteEvaluations]:
    held_out = validation(run)
    if held_out is None:
        return
    steps = held_out.steps[~numpy.isfinite(held_out.losses)].tolist()
    if steps:
        yield NonFiniteEvaluations(
            split=held_out.name,
            steps=tuple(steps),
            evaluations=len(held_out.losses),
            span=Span(first=max(steps[0], 0), last=max(steps[-1], 0)),
        )


@non_finite.tell
def _clean(found: Finite) -> Clean:
    losses, of = plural(found.losses, "loss", "losses"), label_of(found.training)
    early = f"; the GradScaler skipped {plural(found.skipped, 'step')}" if found.skipped else ""
    if not found.recorded:
        return Clean(measured=f"{losses} are finite; no tensor statistics could be read{early}{of}")
    gradients = f"the gradients of {plural(found.tensors, 'tensor')} at {plural(found.recorded, 'step')}"
    return Clean(measured=f"{losses} and {gradients} are finite{early}{of}")


@non_finite.tell
def _evaluation_finding(found: NonFiniteEvaluations) -> Finding:
    split = found.split if len(found.split) <= _LONGEST_SPLIT else "validation"
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title=f"Non-finite {split} loss",
        headline=f"The {found.split} loss is NaN or infinite in {count(len(found.steps))} of "
        f"{count(found.evaluations)} evaluations",
        explanation="Every training loss is finite, and the loss of these evaluations is not. The steps are "
        f"{names([count(step) for step in found.steps], 5)}.",
        span=found.span,
        actions=[
            Action(text="Check the validation data for NaN", code="assert torch.isfinite(inputs).all()"),
            Action(text="Check for a batch with 0 valid targets: the mean over none is NaN"),
        ],
        measures=[
            Measure(quantity="evaluations with NaN or infinity", value=len(found.steps), comparison=">", threshold=0,
                    unit="count"),
        ],
    )  # fmt: skip


@non_finite.tell
def _finding(found: NonFinite, limits: Limits) -> Finding:
    onset = found.onset
    return Finding(
        severity=Severity.WARNING if onset.recovered else Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title=_title(found),
        headline=_headline(found) + label_of(onset.training),
        explanation=_explanation(found),
        span=Span(first=onset.step, last=found.last),
        tensors=list(onset.tensors[:20]),
        evidence=_charts(found, limits),
        actions=fix_batch(found.batch) or _actions(found),
        measures=[
            Measure(quantity="steps with NaN or infinity", value=onset.steps_with, comparison=">", threshold=0,
                    unit="count"),
            Measure(quantity="loss in the 10 steps before / first loss", value=onset.rise, comparison=">",
                    threshold=limits.rise, option="rise", decides="cause", any_of="diverged"),
            Measure(quantity="update-to-weight ratio in the 10 steps before", value=onset.update_ratio, comparison=">",
                    threshold=limits.fast, option="fast", decides="cause", any_of="diverged"),
        ],
    )  # fmt: skip


def _title(found: NonFinite) -> str:
    onset = found.onset
    kind = "NaN" if onset.what == "NaN" else "Infinite"
    where = {"loss": "loss", "gradient": "gradient", "weight": "weights"}[onset.where]
    if not onset.recovered:
        when = "before training" if found.at_start else f"from step {count(onset.step)}"
    else:
        when = f"at step {count(onset.step)}" if onset.steps_with == 1 else f"at {count(onset.steps_with)} steps"
    return f"{kind} {where} {when}"


def _headline(found: NonFinite) -> str:
    onset = found.onset
    batch = {
        "all ignored": ", where all targets are ignored",
        "no example": ", at a batch without an example",
        "one example": ", at a batch of one example",
    }.get(found.batch.odd, "")
    goes_on = found.last > onset.step and not onset.recovered
    until = f", and training goes on to step {count(found.last)}" if goes_on else ""
    headline = f"{subject(onset)} is {onset.what} {_when(found)}"
    for part in (batch, until):
        headline += part if len(headline + part) <= _LONGEST else ""
    return headline


def _when(found: NonFinite) -> str:
    onset = found.onset
    if onset.recovered:
        several = f"{count(onset.steps_with)} steps, first at " if onset.steps_with > 1 else ""
        return f"at {several}step {count(onset.step)}"
    return "before the first step" if found.at_start else f"from step {count(onset.step)}"


def _charts(found: NonFinite, limits: Limits) -> list[AnyEvidence]:
    onset = found.onset
    mark = Mark(label=f"step {count(onset.step)}", x=onset.step)
    charts: list[AnyEvidence] = []
    if found.loss_seen:
        caption = (
            "The line ends where the loss is not finite. A rise before the mark is a divergence; a flat line that "
            "stops is one bad operation."
        )
        charts.append(loss_chart(onset.training, caption, [mark], last_step=max(60, 2 * onset.step)))
    if found.diverged and not math.isnan(onset.update_ratio):
        caption = "The update-to-weight ratio of the median weight layer. At 1 a step replaces the weights."
        limit = Mark(label=setting(limits.fast), y=limits.fast)
        charts.append(update_chart(onset.training, caption, [mark, limit]))
    return charts


def _before(found: NonFinite) -> str:
    rise, ratio = found.onset.rise, found.onset.update_ratio
    if found.diverged:
        grew = [f"the loss rose to {times(rise)} times its first value"] if rise > 1 else []
        if not math.isnan(ratio):
            grew.append(f"the median update-to-weight ratio reached {times(ratio)}")
        return f"In the 10 steps before, {' and '.join(grew)}: training had already diverged."
    if math.isnan(found.loss_before):
        return ""
    return f"In the 10 steps before, the loss was steady at {number(found.loss_before)}: training had not diverged."


def _explanation(found: NonFinite) -> str:
    onset, operation = found.onset, found.operation
    sentences = [
        *where_it_broke(onset, loss_seen=found.loss_seen),
        operation_in_words(operation) if operation is not None else "",
        _before(found),
        affected(onset),
        batch_in_words(found.batch),
    ]
    return " ".join(filter(None, sentences))


def _actions(found: NonFinite) -> list[Action]:
    onset, rates = found.onset, found.rates
    if found.operation is not None and not found.diverged:
        found_it = look_at_operation(found.operation)
        return [found_it, *(find_in_backward(onset) if onset.loss_finite else find_in_forward(onset))[1:]]
    if found.diverged:
        return [
            Action(text=f"Lower the learning rate from {rate_in_words(rates)} to {rate_in_words(rates / 10)}"),
            Action(text="Warm up over the first 100 steps, so that the first updates stay small"),
            clip_norm("Clip the gradient norm: it bounds the damage of one step"),
        ]
    if onset.before_step:
        return already_broken(onset)[1]
    if onset.loss_finite:
        return [look_closely(onset.step), *find_in_backward(onset)]
    module, *rest = find_in_forward(onset)
    both = [module, look_closely(onset.step)]
    return [*(both if first_module(onset) else reversed(both)), *rest]
