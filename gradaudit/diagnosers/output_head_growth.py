"""The norm of the output layer keeps growing while the learning rate falls, and the loss rises.

## What it looks for

The steps after the last one at which the learning rate was near its peak, if it falls to `cooled` of the peak or below.
It is a note when the weight norm of the output layer ends at `growth` times what it was at the first of these steps,
and at `apart` times the growth of the other weight layers (median), and the loss rises: the mean of their last tenth
lies `rise` above that of the lowest tenth, by `errors` standard errors of the two, and the lowest is none of the last
two.

## Why it matters

A small learning rate should let the loss converge. An output layer that grows all the same scales every logit up: the
predictions become overconfident, the cross-entropy of each mistake grows with them, and half precision rounds large
outputs to steps of 0.5 and more. The loss of a large model rose like this in its last days of training, and the reason
was seen only once the norms of its layers were recorded.

## What to try

A small penalty on the logarithm of the softmax's denominator (z-loss, 1e-4) limits the logits. Keep the output layer in
the parameter group with weight decay. Look for a term of the objective that gains from large outputs. Go back to the
weights from before the rise.

## When it is wrong

Output layers grow in every training while the loss falls, up to 1.7 times in healthy runs after the peak of the
learning rate; that is not reported. Harder data towards the end raises the loss too, and the output layer may follow
it. Runs with a constant learning rate are not checked: there such growth is a matter of `divergence` or
`unstable_loss`.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.chart_data import Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.weight_norms import head_norm
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, in_code, number, percent, setting, times
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    ratio,
)
from gradaudit.signals.activations.module_samples import loss_inputs
from gradaudit.signals.layers.head_cooldown import LEAST_STEPS, Cooldown, cooldown_start, head_cooldown
from gradaudit.signals.layers.layers import zero_initialised
from gradaudit.signals.layers.output_head import output_head
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import median
from gradaudit.signals.updates.weight_growth import weight_decays
from gradaudit.training import Training

_SAMPLES = 5  # samples of outputs whose median is told
_ALONE = 2.0  # times, of itself and of the other layers: then the rise is the head's, and not of the learning rate


class Limits(msgspec.Struct, frozen=True):
    """How far a decay of the learning rate goes, and from where on head and loss grow in it."""

    cooled: float = 0.5  # of the peak of the learning rate: a fall, and not the slope of a long schedule
    growth: float = 1.5  # times; healthy heads reach 1.7 after the peak, but then the loss falls
    apart: float = 1.5  # times the growth of the other layers: all of them grow where the rate is too high
    rise: float = 0.02  # of the loss at its lowest; Marin 8B's loss rose by less, but over 1e5 steps
    errors: float = 4.0  # standard errors: chance does not reach it in a hundred runs


class NoFall(Judged, frozen=True):
    """The learning rate does not fall far, or not for long enough to judge the loss in it."""


class GrowingHead(Judged, frozen=True):
    """The output layer grows and the loss rises while the learning rate falls."""

    head: str
    cooldown: Cooldown
    rates: tuple[list[float], list[float]]  # learning rate of each parameter group, before and after the fall
    weight_decay: float  # of the head's parameter group
    grows_alone: bool  # little else grows: a learning rate that is too high moves all layers
    outputs: tuple[float, float] | None  # largest output before and after the fall; None where not sampled
    classifies: bool  # the outputs are logits


class StableHead(Judged, frozen=True):
    """The head does not grow by itself, or the loss does not rise."""

    head: str
    cooldown: Cooldown


@diagnoser(
    per="training",
    worst=Severity.NOTE,
    needs=("tensors.weight_norm",),
    minimum_steps=100,
    explains=("divergence", "unstable_loss", "no_learning", "gradient_growth"),
)
def output_head_growth(
    training: Training, limits: Limits
) -> Iterator[GrowingHead | StableHead | NoFall | NotApplicable | Skipped]:
    """Compare head and loss at the end of a falling learning rate with those at its beginning."""
    loss, head = training_loss(training), output_head(training)
    if loss.not_interpretable:
        yield NotApplicable(reason=unclear_in_words(loss.not_interpretable))
        return
    if head is None or bool(zero_initialised(training)[head]):
        yield NotApplicable(reason="no output layer is trained, or it starts at zero")
        return
    start = cooldown_start(training, limits.cooled)
    if start is None:
        yield NoFall()
        return
    cooldown = head_cooldown(training, head, start)
    if cooldown is None:
        yield Skipped(
            reason="the weights of the output layer were not recorded while the learning rate fell",
            enable="record more often: --every 1",
        )
        return
    rises = cooldown.is_rising and cooldown.loss_rise >= limits.rise and cooldown.errors >= limits.errors
    if rises and cooldown.head_growth >= limits.growth and cooldown.head_over_others >= limits.apart:
        yield _growing(training, head, start, cooldown)
    else:
        yield StableHead(head=training.tensors[head].name, cooldown=cooldown)


def _growing(training: Training, head: int, start: int, cooldown: Cooldown) -> GrowingHead:
    tensor, loss, rates = training.tensors[head], training_loss(training), training.learning_rates
    grown, others = cooldown.head_growth, cooldown.others_growth
    return GrowingHead(
        head=tensor.name,
        cooldown=cooldown,
        rates=(rates[start].tolist(), rates[-1].tolist()),
        weight_decay=float(weight_decays(training)[tensor.group]) if tensor.group >= 0 else 0.0,
        grows_alone=grown >= _ALONE and math.isfinite(others) and grown >= _ALONE * max(1.0, others),
        outputs=_outputs(loss, cooldown.first),
        classifies=loss.kind == "classification",
    )


def _outputs(loss: TrainingLoss, at: int) -> tuple[float, float] | None:
    """How large the largest outputs were up to step `at` and are at the end; None where too few were sampled."""
    if loss.facts is None:
        return None
    samples = loss_inputs(loss.training.run, loss.facts.id)
    sizes = numpy.abs(samples[["minimum", "maximum"]].to_numpy(dtype=float)).max(axis=1, initial=0.0)
    before = sizes[samples["step"].to_numpy() <= at]
    if not len(before) or len(sizes) < 2 * _SAMPLES:
        return None
    return median(before[-_SAMPLES:]), median(sizes[-_SAMPLES:])


@output_head_growth.tell
def _no_fall(found: NoFall, limits: Limits) -> NotApplicable:
    return NotApplicable(
        reason=f"the learning rate does not fall to {percent(limits.cooled)} of its peak over {LEAST_STEPS} steps or "
        "more"
    )


@output_head_growth.tell
def _stable(found: StableHead) -> Clean:
    cooldown = found.cooldown
    return Clean(
        measured=f"while the learning rate falls, from step {count(cooldown.first)} on, {found.head} ends at "
        f"{factor(cooldown.head_growth)} times its norm, and the loss goes from {number(cooldown.lowest_loss)} at its "
        f"lowest to {number(cooldown.last_loss)}"
    )


@output_head_growth.tell
def _finding(found: GrowingHead, training: Training, limits: Limits) -> Finding:
    cooldown, at = found.cooldown, found.cooldown.first
    marks = [Mark(label=f"step {count(at)} · the learning rate begins to fall", x=at, role="reference")]
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Output layer norm keeps growing",
        headline=f"The output layer grows {times(cooldown.head_growth)} times while the learning rate falls, and the "
        f"loss rises from {number(cooldown.lowest_loss)} to {number(cooldown.last_loss)}",
        explanation=_explanation(found),
        span=Span(first=at, last=cooldown.last),
        tensors=[found.head],
        evidence=[
            head_norm(training, found.head, cooldown.row, cooldown.head, cooldown.others),
            loss_chart(training, "The training loss; the mark is where the learning rate begins to fall.", marks),
        ],
        actions=_actions(found),
        measures=_measures(cooldown, limits),
        caused=["divergence", "unstable_loss", "no_learning", "gradient_growth"] if found.grows_alone else [],
    )


def _explanation(found: GrowingHead) -> str:
    cooldown, (before, after) = found.cooldown, found.rates
    others = (
        f", those of the other weight layers at {factor(cooldown.others_growth)} times (median)"
        if math.isfinite(cooldown.others_growth)
        else ""
    )
    sentences = [
        f"From step {count(cooldown.first)} on the learning rate falls from {rate_in_words(before)} to "
        f"{rate_in_words(after)}.",
        f"The norm of {found.head} ends at {times(cooldown.head_growth)} times what it was{others}.",
        f"The mean loss of a tenth of these steps is {number(cooldown.lowest_loss)} at its lowest and "
        f"{number(cooldown.last_loss)} at the end.",
    ]
    if found.outputs is not None:
        first, last = found.outputs
        sentences.append(f"The largest output goes from {number(first)} to {number(last)}.")
    return " ".join(sentences)


def _actions(found: GrowingHead) -> list[Action]:
    head, decay = found.head, found.weight_decay
    return [
        Action(text="Limit the logits with a z-loss of 1e-4",
               code="loss = loss + 1e-4 * logits.logsumexp(dim=-1).square().mean()") if found.classifies else
        Action(text="Limit the outputs with a penalty on their square, of 1e-4 of the loss"),
        Action(text=f"Look for a term of the objective that gains from large outputs, from step "
               f"{count(found.cooldown.first)} on"),
        Action(text=f"Give {head} a weight decay of 0.1",
               code=f'{{"params": [{in_code(head)}], "weight_decay": 0.1}}') if not decay else
        Action(text=f"Raise the weight decay of {head} above {setting(decay)}"),
    ]  # fmt: skip


def _measures(cooldown: Cooldown, limits: Limits) -> list[Measure]:
    rise = cooldown.last_loss - cooldown.lowest_loss
    return [
        Measure(quantity="norm of the output layer, end / peak of the rate", value=cooldown.head_growth,
                comparison=">=", threshold=limits.growth, option="growth"),
        Measure(quantity="the same / that of the other layers", value=cooldown.head_over_others, comparison=">=",
                threshold=limits.apart, option="apart"),
        ratio(("rise of the loss", rise), ("its lowest tenth", abs(cooldown.lowest_loss)), ">=", limits.rise,
              unit="fraction", option="rise"),
        Measure(quantity="rise of the loss / standard error", value=cooldown.errors, comparison=">=",
                threshold=limits.errors, option="errors"),
    ]  # fmt: skip
