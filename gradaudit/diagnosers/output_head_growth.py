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
from dataclasses import dataclass

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, in_code, number, percent, setting, times
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
    ratio,
)
from gradaudit.signals.activations.module_samples import loss_inputs
from gradaudit.signals.layers.layers import weight_layers, zero_start
from gradaudit.signals.layers.output_head import output_head
from gradaudit.signals.loss.progress import TENTHS
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, median, medians_across
from gradaudit.signals.updates.learning_rates import sustained
from gradaudit.signals.updates.weight_growth import weight_decays
from gradaudit.training import Training

_NEAR = 0.9  # of the peak of the learning rate: a plateau is no fall
_LEAST = 50  # steps of falling rate: tenths of five losses
_SAMPLES = 5  # samples of outputs whose median is told
_ALONE = 2.0  # times, of itself and of the other layers: then the climb is the head's, and not of the learning rate


@dataclass(frozen=True, eq=False)
class Fall:
    """The stretch over which the learning rate falls, and what head, other layers and loss do in it."""

    turn: int  # the index of its first step
    row: int  # the recorded step nearest to it
    head: Floats  # [recorded steps] norm of the head's weight over that at the turn
    others: Floats  # [recorded steps] the median of the other weight layers'
    best: float  # mean loss of the lowest tenth
    last: float  # mean loss of the last tenth
    early: bool  # whether the lowest tenth is none of the last two
    errors: float  # standard errors between the two


@diagnoser(
    per="training",
    worst=Severity.NOTE,
    needs=("tensors.weight_norm",),
    minimum_steps=100,
    explains=("divergence", "unstable_loss", "no_learning", "gradient_growth"),
)
def output_head_growth(
    training: Training,
    *,
    cooled: float = 0.5,  # of the peak of the learning rate: a fall, and not the slope of a long schedule
    growth: float = 1.5,  # times; healthy heads reach 1.7 after the peak, but then the loss falls
    apart: float = 1.5,  # times the growth of the other layers: all of them grow where the rate is too high
    rise: float = 0.02,  # of the loss at its lowest; Marin 8B's loss rose by less, but over 1e5 steps
    errors: float = 4.0,  # standard errors: chance does not reach it in a hundred runs
) -> Iterator[Verdict]:
    """Compare head and loss at the end of a falling learning rate with those at its beginning."""
    loss, head = training_loss(training), output_head(training)
    if loss.not_interpretable:
        yield NotApplicable(reason=unclear_in_words(loss.not_interpretable))
        return
    if head is None or bool(zero_start(training)[head]):
        yield NotApplicable(reason="no output layer is trained, or it starts at zero")
        return
    turn = _turn(training, cooled)
    if turn is None:
        yield NotApplicable(
            reason=f"the learning rate does not fall to {percent(cooled)} of its peak over {_LEAST} steps or more"
        )
        return
    fall = _fall(training, head, turn, loss)
    if fall is None:
        yield Skipped(
            reason="the weights of the output layer were not recorded while the learning rate fell",
            enable="record more often: --every 1",
        )
        return
    grown, rest = float(fall.head[-1]), max(1.0, float(numpy.nan_to_num(fall.others[-1], nan=1.0)))
    risen = (fall.last - fall.best) / abs(fall.best) if fall.best else math.inf
    maximizes = fall.early and risen >= rise and fall.errors >= errors
    name = training.tensors[head].name
    if not (maximizes and grown >= growth and grown / rest >= apart):
        yield Clean(
            measured=f"while the learning rate falls, from step {count(loss.steps[turn])} on, {name} ends at "
            f"{factor(grown)} times its norm, and the loss goes from {number(fall.best)} at its lowest to "
            f"{number(fall.last)}"
        )
        return
    measures = [
        Measure(quantity="norm of the output layer, end / peak of the rate", value=grown, comparison=">=",
                threshold=growth, option="growth"),
        Measure(quantity="the same / that of the other layers", value=grown / rest, comparison=">=",
                threshold=apart, option="apart"),
        ratio(("rise of the loss", fall.last - fall.best), ("its lowest tenth", abs(fall.best)), ">=", rise,
              unit="fraction", option="rise"),
        Measure(quantity="rise of the loss / standard error", value=fall.errors, comparison=">=",
                threshold=errors, option="errors"),
    ]  # fmt: skip
    yield _finding(training, head, fall, loss, measures)


def _turn(training: Training, cooled: float) -> int | None:
    """The index of the last step whose learning rate is near its peak; None where it does not fall after that."""
    rates = training.learning_rates
    highest = sustained(numpy.where(numpy.isfinite(rates), rates, 0.0).max(axis=1, initial=0.0))
    peak = float(highest.max(initial=0.0))
    if not 0 < peak < math.inf:
        return None
    turn = int(numpy.flatnonzero(highest >= _NEAR * peak)[-1])
    return turn if highest[-1] <= cooled * peak and len(highest) - turn >= _LEAST else None


def _fall(training: Training, head: int, turn: int, loss: TrainingLoss) -> Fall | None:
    norms = training.matrix("weight_norm")
    own = training.steps["step"].to_numpy(dtype=numpy.int64)
    row = int(numpy.searchsorted(training.recorded, own[turn]))
    tenths = [part[numpy.isfinite(part)] for part in numpy.array_split(loss.values[turn:], TENTHS)]
    # A last recorded step long before the end says nothing of the end.
    late = len(norms) and training.recorded[-1] >= own[turn] + 0.8 * (own[-1] - own[turn])
    if row >= len(norms) - 1 or not late or not norms[row, head] > 0 or not all(len(part) for part in tenths):
        return None
    with numpy.errstate(divide="ignore", invalid="ignore"):
        over = norms / norms[row]
    rest = weight_layers(training) & ~zero_start(training)
    rest[head] = False
    means = [float(part.mean()) for part in tenths]
    best = int(numpy.argmin(means))
    noise = math.hypot(*(float(tenths[i].std()) / math.sqrt(len(tenths[i])) for i in (best, -1)))
    rise = means[-1] - means[best]
    return Fall(
        turn=turn,
        row=row,
        head=over[:, head],
        others=medians_across(over[:, rest]) if rest.any() else numpy.full(len(over), numpy.nan),
        best=means[best],
        last=means[-1],
        early=best < TENTHS - 2,
        errors=rise / noise if noise > 0 else math.copysign(math.inf, rise),
    )


def _finding(training: Training, head: int, fall: Fall, loss: TrainingLoss, measures: list[Measure]) -> Finding:
    tensor = training.tensors[head]
    steps, rates = training.recorded_global_steps, training.learning_rates
    at = int(loss.steps[fall.turn])
    marks = [Mark(label=f"step {count(at)} · the learning rate begins to fall", x=at, role="reference")]
    decay = float(weight_decays(training)[tensor.group]) if tensor.group >= 0 else 0.0
    logits = loss.kind == "classification"
    others = float(fall.others[-1])
    shown = slice(fall.row, None)
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title="Output layer norm keeps growing",
        headline=f"The output layer grows {times(float(fall.head[-1]))} times while the learning rate falls, and the "
        f"loss rises from {number(fall.best)} to {number(fall.last)}",
        explanation=f"From step {count(at)} on the learning rate falls from {rate_in_words(rates[fall.turn])} to "
        f"{rate_in_words(rates[-1])}. The norm of {tensor.name} ends at {times(float(fall.head[-1]))} times what it was"
        + (f", those of the other weight layers at {factor(others)} times (median)" if math.isfinite(others) else "")
        + f". The mean loss of a tenth of these steps is {number(fall.best)} at its lowest and {number(fall.last)} at "
        f"the end.{_outputs(loss, at)}",
        span=Span(first=at, last=int(loss.steps[-1])),
        tensors=[tensor.name],
        evidence=[
            Lines(
                title="Norm of the output layer",
                caption="Relative to the step from which the learning rate falls. In a training that converges, "
                "norms hardly change.",
                x_label="step",
                y_label="norm / norm at the peak of the learning rate",
                series=[
                    plain(tensor.name, steps[shown], fall.head[shown], role="flagged"),
                    *([plain("median of the other layers", steps[shown], fall.others[shown])]
                      if numpy.isfinite(fall.others[shown]).any() else []),
                ],
            ),
            loss_chart(training, "The training loss; the mark is where the learning rate begins to fall.", marks),
        ],
        actions=[
            Action(text="Limit the logits with a z-loss of 1e-4",
                   code="loss = loss + 1e-4 * logits.logsumexp(dim=-1).square().mean()") if logits else
            Action(text="Limit the outputs with a penalty on their square, of 1e-4 of the loss"),
            Action(text=f"Look for a term of the objective that gains from large outputs, from step {count(at)} on"),
            Action(text=f"Give {tensor.name} a weight decay of 0.1",
                   code=f'{{"params": [{in_code(tensor.name)}], "weight_decay": 0.1}}') if not decay else
            Action(text=f"Raise the weight decay of {tensor.name} above {setting(decay)}"),
        ],
        measures=measures,
        caused=["divergence", "unstable_loss", "no_learning", "gradient_growth"] if _alone(fall) else [],
    )  # fmt: skip


def _alone(fall: Fall) -> bool:
    """Whether little else grows: a learning rate that is too high moves all layers."""
    grown, others = float(fall.head[-1]), float(fall.others[-1])
    return grown >= _ALONE and math.isfinite(others) and grown >= _ALONE * max(1.0, others)


def _outputs(loss: TrainingLoss, at: int) -> str:
    """How large the outputs were and are, where they were sampled."""
    if loss.facts is None:
        return ""
    samples = loss_inputs(loss.training.run, loss.facts.id)
    sizes = numpy.abs(samples[["minimum", "maximum"]].to_numpy(dtype=float)).max(axis=1, initial=0.0)
    before = sizes[samples["step"].to_numpy() <= at]
    if not len(before) or len(sizes) < 2 * _SAMPLES:
        return ""
    return f" The largest output goes from {number(median(before[-_SAMPLES:]))} to {number(median(sizes[-_SAMPLES:]))}."
