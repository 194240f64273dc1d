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

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.wording import count, names, number, percent, setting
from gradaudit.findings import (
    Action,
    AnyEvidence,
    Clean,
    Confidence,
    Finding,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
    ratio,
)
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts
from gradaudit.signals.loss.reach import COMPARING, Reach, reach_of
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.training import Training

_VISIBLE = "compute the loss with torch.nn.functional outside of compiled regions, and record with this version"
_GIVES = {"sigmoid": "stays between 0 and 1", "tanh": "stays between -1 and 1", "relu": "is never negative"}


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
    run: Run,
    *,
    lost: float = 0.05,  # of the variance; what a laboratory's training must gain to count as one that learns
) -> Iterator[Verdict]:
    """Hold what the last activation can give against the targets."""
    constant = [facts for facts in run.meta.losses if facts.activation == "softmax" and facts.softmax_over == 1]
    comparing = [facts for facts in run.meta.losses if facts.function in COMPARING and facts not in constant]
    if not constant and not comparing:
        yield NotApplicable(reason="no loss was seen that compares the predictions with numbers that they should be")
        return
    known = [facts for facts in comparing if facts.activation is not None]
    reached = [(facts, found) for facts in known if (found := reach_of(facts)) is not None]
    missing = [(facts, found) for facts, found in reached if found.missed > lost * found.variance]
    for facts in constant:
        yield _finding(run, facts, None, lost)
    for facts, found in missing:
        yield _finding(run, facts, found, lost)
    if constant or missing:
        return
    if not known:
        yield Skipped(reason="the operation that the predictions come from was not seen", enable=_VISIBLE)
        return
    if not reached:
        free = names(sorted({facts.activation or "an operation without bounds" for facts in known}), 4)
        yield NotApplicable(reason=f"the predictions come from {free}, and are compared with nothing beyond its range")
        return
    facts, worst = max(reached, key=lambda pair: pair[1].missed)
    yield Clean(
        measured=f"the predictions of {facts.function} come from {facts.activation}, and at least "
        f"{number(worst.missed)} of the targets' variance, {number(worst.variance)}, is out of its reach"
    )


def _finding(run: Run, facts: LossFacts, found: Reach | None, lost: float) -> Finding:
    training = next((one for one in run.trainings if training_loss(one).facts == facts), None)
    steps = (training or run.trainings[0]).steps["global_step"]
    hopeless = found is None or found.missed >= found.variance
    return Finding(
        severity=Severity.CRITICAL if hopeless else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title=_title(facts, found),
        headline=_headline(facts, found),
        explanation=_seen(facts, found),
        span=Span(first=int(steps.iloc[0]), last=int(steps.iloc[-1])),
        evidence=_chart(facts, found, training),
        actions=_actions(facts, found),
        measures=[
            Measure(quantity="numbers that the softmax is over", value=1, comparison="<=", threshold=1, unit="count")
            if found is None
            else ratio(
                ("mean square out of reach", found.missed),
                ("variance of the targets", found.variance),
                ">",
                lost,
                option="lost",
            )
        ],
    )


def _title(facts: LossFacts, found: Reach | None) -> str:
    if found is None:
        return "Softmax over a single output"
    return "Softmax cannot fit the targets" if facts.activation == "softmax" else "Targets outside the output range"


def _headline(facts: LossFacts, found: Reach | None) -> str:
    if found is None:
        return "The model ends in a softmax over one number, so its output is always 1"
    if facts.activation == "softmax":
        over = facts.softmax_over
        return (
            f"The {count(over)} outputs of the softmax sum to 1, but their targets sum to {number(over * found.mean)} "
            "on average"
            if over
            else f"The softmax at the end stays between 0 and 1, but {_targets(found)}"
        )
    return f"The {facts.activation} at the end {_GIVES[facts.activation or '']}, but {_targets(found)}"


def _targets(found: Reach) -> str:
    return f"the targets have mean {number(found.mean)} and standard deviation {number(math.sqrt(found.variance))}"


def _seen(facts: LossFacts, found: Reach | None) -> str:
    if found is None:
        return (
            f"The input of {facts.function} comes from a softmax over a dimension of length 1. A softmax divides by "
            "the sum over that dimension, so each output is 1 and its gradient is 0: no layer before it learns."
        )
    said = f"The input of {facts.function} comes from {facts.activation}. "
    if facts.function == "mse_loss":
        said += f"Even with the best weights the loss stays at {number(found.missed)} or above. "
    elif facts.function not in ("l1_loss", "smooth_l1_loss", "huber_loss"):
        said += "Softmax lets one label win at the cost of the others. "
    if found.missed >= found.variance:
        return said + f"Always predicting the mean of the targets would cost their variance, {number(found.variance)}."
    share = percent(found.missed / found.variance)
    return said + f"That is {share} of what always predicting the mean of the targets costs, {number(found.variance)}."


def _chart(facts: LossFacts, found: Reach | None, training: Training | None) -> list[AnyEvidence]:
    if training is None:
        return []
    marks = []
    if found is not None and facts.function == "mse_loss":
        marks = [
            Mark(label=f"lowest possible: {number(found.missed)}", y=found.missed),
            Mark(label=f"variance of the target: {number(found.variance)}", y=found.variance, role="reference"),
        ]
    return [loss_chart(training, "The training loss, and where it has to stop.", marks)]


def _actions(facts: LossFacts, found: Reach | None) -> list[Action]:
    classes = facts.function.startswith("binary")
    if facts.activation == "softmax":
        several = "one sigmoid for each label" if found is not None else "a sigmoid, which is what one output wants"
        return [
            Action(text=f"Where the targets are 0 and 1, replace the softmax by {several}",
                   code="loss = F.binary_cross_entropy_with_logits(output, target)"),
            *([] if classes else [Action(text="Where they are free numbers, leave the softmax out")]),
        ]  # fmt: skip
    free = Action(text=f"Leave out the {facts.activation} at the end of the model")
    if found is None or facts.activation == "relu":
        return [free, Action(text="Or make every target 0 or more, if the relu is meant")]
    # Two standard deviations on either side of the mean are nearly all there is.
    spread = 2 * math.sqrt(found.variance)
    low, width = (found.mean, spread) if facts.activation == "tanh" else (found.mean - spread, 2 * spread)
    low_, width_ = (setting(float(f"{value:.3g}")) for value in (low, width))
    return [
        free,
        Action(text=f"Or scale the targets into its range, and the predictions back: subtract {low_} and divide by "
                    f"{width_}", code=f"target = (target - {low_}) / {width_}"),
    ]  # fmt: skip
