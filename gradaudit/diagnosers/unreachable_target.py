"""The targets lie outside the range of the model's last activation.

## What it looks for

The operation that the predictions come from is read off the autograd graph behind the loss: softmax, sigmoid, tanh or
relu. A softmax over one number is 1 whatever the input, which is critical. For losses that compare numbers with numbers
the mean and the standard deviation of the targets are compared with those that the activation can give: a sigmoid
stays between 0 and 1, a tanh between -1 and 1, a relu is never negative, and the outputs of a softmax over n numbers
have a mean of 1 / n. From that follows the smallest mean squared error that any weights can reach. It is a warning
above `lost` of the variance of the targets, and critical above the variance: then always predicting the mean, without
the activation, would be better than anything that the model can predict.

## Why it matters

No learning rate, no initialisation and no further layer helps: the best that training can do is to press the activation
against its bound, where its gradient vanishes.

## What to try

Leave the activation out where the targets are free numbers, or scale the targets into its range and the predictions
back. One output for two classes wants a sigmoid; several labels that may be right at once want one sigmoid each.

## When it is wrong

Mean and standard deviation prove that targets are out of reach, and never that all are within: a few targets outside,
or negative ones beside larger positive ones behind a relu, are not known. Inside compiled models the last operation is
not seen.
"""

import math
from collections.abc import Iterator

import msgspec

from gradaudit.chart_data import AnyEvidence, Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, names, number, percent, setting
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
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts
from gradaudit.signals.loss.reach import COMPARING, Reach, reach_of
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.training import Training

_GIVES = {"sigmoid": "stays between 0 and 1", "tanh": "stays between -1 and 1", "relu": "is never negative"}


class Limits(msgspec.Struct, frozen=True):
    """How much of the targets may lie out of reach."""

    lost: float = 0.05  # of the variance; what a laboratory's training must gain to count as one that learns


class ConstantOutput(Judged, frozen=True):
    """A softmax over a single number gives 1 whatever the input."""

    function: str
    training: Training | None  # the one whose loss it is
    span: Span


class OutOfReach(Judged, frozen=True):
    """The targets lie outside of what the last activation can give."""

    facts: LossFacts
    activation: str
    reach: Reach
    hopeless: bool  # always predicting the mean, without the activation, would be no worse
    shift: float  # what to subtract from the targets, and then to divide them by, to have nearly all within reach
    scale: float
    training: Training | None  # the one whose loss it is
    span: Span


class WithinReach(Judged, frozen=True):
    """Of all losses that compare numbers, the one that misses most, and it misses little."""

    function: str
    activation: str
    reach: Reach


class NoBound(Judged, frozen=True):
    """The predictions are compared with nothing beyond the range of the operations that they come from."""

    activations: tuple[str, ...]  # "" is an operation without bounds


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    explains=(
        "frozen_parameter",
        "initial_loss_mismatch",
        "vanishing_gradient",
        "saturated_activation",
        "dead_relu",
        "gradient_growth",
        "learning_rate_too_low",
        "layer_imbalance",
        "premature_plateau",
        "no_learning",
        "no_signal",
    ),
)
def unreachable_target(
    run: Run, limits: Limits
) -> Iterator[ConstantOutput | OutOfReach | WithinReach | NoBound | NotApplicable | Skipped]:
    """Hold what the last activation can give against the targets."""
    constant = [facts for facts in run.meta.losses if facts.activation == "softmax" and facts.softmax_over == 1]
    comparing = [facts for facts in run.meta.losses if facts.function in COMPARING and facts not in constant]
    known = [facts for facts in comparing if facts.activation is not None]
    reached = [(facts, reach) for facts in known if (reach := reach_of(facts)) is not None]
    missing = [(facts, reach) for facts, reach in reached if reach.missed > limits.lost * reach.variance]
    if constant or missing:
        for facts in constant:
            yield ConstantOutput(facts.function, *_training_of(run, facts))
        for facts, reach in missing:
            yield _out_of_reach(run, facts, reach)
    elif not comparing:
        yield NotApplicable(reason="no loss was seen that compares the predictions with numbers that they should be")
    elif not known:
        yield Skipped(
            reason="the operation that the predictions come from was not seen",
            enable="compute the loss with torch.nn.functional outside of compiled regions, and record with this "
            "version",
        )
    elif not reached:
        yield NoBound(tuple({facts.activation or "" for facts in known}))
    else:
        facts, reach = max(reached, key=lambda pair: pair[1].missed)
        yield WithinReach(facts.function, facts.activation or "", reach)


def _out_of_reach(run: Run, facts: LossFacts, reach: Reach) -> OutOfReach:
    # Two standard deviations on either side of the mean are nearly all there is.
    spread = 2 * math.sqrt(reach.variance)
    centred = facts.activation == "tanh"
    training, span = _training_of(run, facts)
    return OutOfReach(
        facts=facts,
        activation=facts.activation or "",
        reach=reach,
        hopeless=reach.missed >= reach.variance,
        shift=reach.mean if centred else reach.mean - spread,
        scale=spread if centred else 2 * spread,
        training=training,
        span=span,
    )


def _training_of(run: Run, facts: LossFacts) -> tuple[Training | None, Span]:
    """The training whose loss this is, if one is known, and its steps, else those of the first."""
    training = next((one for one in run.trainings if training_loss(one).facts == facts), None)
    steps = (training or run.trainings[0]).steps["global_step"]
    return training, Span(first=int(steps.iloc[0]), last=int(steps.iloc[-1]))


@unreachable_target.tell
def _no_bound(found: NoBound) -> NotApplicable:
    free = names(sorted(activation or "an operation without bounds" for activation in found.activations), 4)
    return NotApplicable(reason=f"the predictions come from {free}, and are compared with nothing beyond its range")


@unreachable_target.tell
def _within_reach(found: WithinReach) -> Clean:
    return Clean(
        measured=f"the predictions of {found.function} come from {found.activation}, and at least "
        f"{number(found.reach.missed)} of the targets' variance, {number(found.reach.variance)}, is out of its reach"
    )


@unreachable_target.tell
def _constant(found: ConstantOutput) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Softmax over a single output",
        headline="The model ends in a softmax over one number, so its output is always 1",
        explanation=f"The input of {found.function} comes from a softmax over a dimension of length 1. A softmax "
        "divides by the sum over that dimension, so each output is 1 and its gradient is 0: no layer before it learns.",
        span=found.span,
        evidence=_chart(found.training, []),
        actions=_without_softmax(found.function, "a sigmoid, which is what one output wants"),
        measures=[
            Measure(quantity="numbers that the softmax is over", value=1, comparison="<=", threshold=1, unit="count")
        ],
    )


@unreachable_target.tell
def _out(found: OutOfReach, limits: Limits) -> Finding:
    missed = ("mean square out of reach", found.reach.missed)
    variance = ("variance of the targets", found.reach.variance)
    softmax = found.activation == "softmax"
    return Finding(
        severity=Severity.CRITICAL if found.hopeless else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Softmax cannot fit the targets" if softmax else "Targets outside the output range",
        headline=_headline(found),
        explanation=_explanation(found),
        span=found.span,
        evidence=_chart(found.training, _marks(found)),
        actions=_without_softmax(found.facts.function, "one sigmoid for each label") if softmax else _actions(found),
        measures=[ratio(missed, variance, ">", limits.lost, option="lost")],
    )


def _headline(found: OutOfReach) -> str:
    reach, over = found.reach, found.facts.softmax_over
    targets = f"the targets have mean {number(reach.mean)} and standard deviation {number(math.sqrt(reach.variance))}"
    if found.activation != "softmax":
        return f"The {found.activation} at the end {_GIVES[found.activation]}, but {targets}"
    if over:
        return (
            f"The {count(over)} outputs of the softmax sum to 1, but their targets sum to {number(over * reach.mean)} "
            "on average"
        )
    return f"The softmax at the end stays between 0 and 1, but {targets}"


def _explanation(found: OutOfReach) -> str:
    reach = found.reach
    said = f"The input of {found.facts.function} comes from {found.activation}. "
    if found.facts.function == "mse_loss":
        said += f"Even with the best weights the loss stays at {number(reach.missed)} or above. "
    elif found.facts.function not in ("l1_loss", "smooth_l1_loss", "huber_loss"):
        said += "Softmax lets one label win at the cost of the others. "
    if found.hopeless:
        return said + f"Always predicting the mean of the targets would cost their variance, {number(reach.variance)}."
    share = percent(reach.missed / reach.variance)
    return said + f"That is {share} of what always predicting the mean of the targets costs, {number(reach.variance)}."


def _marks(found: OutOfReach) -> list[Mark]:
    if found.facts.function != "mse_loss":
        return []
    reach = found.reach
    return [
        Mark(label=f"lowest possible: {number(reach.missed)}", y=reach.missed),
        Mark(label=f"variance of the target: {number(reach.variance)}", y=reach.variance, role="reference"),
    ]


def _chart(training: Training | None, marks: list[Mark]) -> list[AnyEvidence]:
    if training is None:
        return []
    return [loss_chart(training, "The training loss, and where it has to stop.", marks)]


def _without_softmax(function: str, instead: str) -> list[Action]:
    classes = function.startswith("binary")
    return [
        Action(text=f"Where the targets are 0 and 1, replace the softmax by {instead}",
               code="loss = F.binary_cross_entropy_with_logits(output, target)"),
        *([] if classes else [Action(text="Where they are free numbers, leave the softmax out")]),
    ]  # fmt: skip


def _actions(found: OutOfReach) -> list[Action]:
    free = Action(text=f"Leave out the {found.activation} at the end of the model")
    if found.activation == "relu":
        return [free, Action(text="Or make every target 0 or more, if the relu is meant")]
    shift, scale = (setting(float(f"{value:.3g}")) for value in (found.shift, found.scale))
    return [
        free,
        Action(text=f"Or scale the targets into its range, and the predictions back: subtract {shift} and divide by "
                    f"{scale}", code=f"target = (target - {shift}) / {scale}"),
    ]  # fmt: skip
