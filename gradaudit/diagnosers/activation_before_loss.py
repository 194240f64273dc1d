"""An activation stands in front of a loss that wants logits: softmax or sigmoid twice, ReLU, tanh.

## What it looks for

cross_entropy and binary_cross_entropy_with_logits apply softmax and sigmoid themselves, and nll_loss wants logarithms
of probabilities, as does kl_div. The autograd graph, or the compiler's, shows the last operation before the loss: a
softmax over the classes or a sigmoid that is applied twice, a softmax before nll_loss or kl_div, and a ReLU before the
binary loss are critical; a sigmoid or ReLU before cross_entropy and a tanh are a warning; log_softmax before
cross_entropy is a note, as it changes nothing.

Where the graph does not say it, the input of the loss is sampled during training. Over samples that span `steps`
steps or more every value of every sample lies between 0 and 1. For cross_entropy that is critical when each row sums
to 1 with a mean error below `row_sum`, and a warning, as of a sigmoid, when rows do not and values go beyond `reach`.
For the binary loss it is critical when the values are spread over `reach` or more, or when the model ends with a
Sigmoid module.

## Why it matters

With probabilities as logits the loss can favour the right class by a factor of e at most. It stops far above zero (at
1.46 with ten classes), and the first softmax shrinks every gradient, most where the model is confident. After a ReLU
no logit is negative: the binary loss can never predict below one half, and a class whose logits are all cut off gets
no gradient.

## What to try

Let the model end with its last linear layer, and apply softmax or sigmoid only to show or to threshold a prediction.
To keep the softmax, use log_softmax with nll_loss; to keep the sigmoid, binary_cross_entropy.

## When it is wrong

No other cause is known for logits that are all between 0 and 1 and sum to 1 for fifty steps. binary_cross_entropy and
nll_loss expect what follows a sigmoid or log_softmax. Logits that are bounded on purpose and scaled after it, such as
10 tanh(x), are not reported, for the tanh is not the last operation. Cosines without a temperature look like a
sigmoid in samples, and are held back in the same way.
"""

import math
from collections.abc import Iterator

import msgspec

from gradaudit.chart_data import AnyEvidence, Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.loss_inputs import input_range_chart
from gradaudit.evidence.words.activations import (
    activation_effect,
    activation_headline,
    activation_title,
    last_operation_table,
    without_activation,
)
from gradaudit.evidence.words.probabilities import at_best, logits_instead, sampled_range
from gradaudit.evidence.words.wording import count, number, plural
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts, ModuleFacts
from gradaudit.signals.loss.activation_before import lowest_loss_behind, unwanted_activation
from gradaudit.signals.loss.loss_input import (
    APPLIES,
    HIGHEST,
    LossInput,
    Squash,
    loss_input,
    lowest_loss,
)
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """What makes values between 0 and 1 probabilities."""

    steps: float = 50  # all 21 faulty runs were found by then, without a false alarm in 410 healthy ones
    row_sum: float = 1e-3  # rounding leaves 1e-7 in float32, and 1e-3 of what float16 sums to
    reach: float = 0.9  # a sigmoid that learns comes near its bounds; small logits do not stop there


_SEVERITIES = {
    ("cross_entropy", "sigmoid"): Severity.WARNING,  # gradients shrink, and it still learns
    ("cross_entropy", "tanh"): Severity.WARNING,
    ("cross_entropy", "relu"): Severity.WARNING,
    ("cross_entropy", "log_softmax"): Severity.NOTE,  # done twice it is what it is once
    ("binary_cross_entropy_with_logits", "tanh"): Severity.WARNING,
    ("binary_cross_entropy_with_logits", "softmax"): Severity.WARNING,
}  # of what is not critical


class Probabilities(Judged, frozen=True):
    """The loss is given what softmax or sigmoid has already been applied to."""

    seen: LossInput
    squash: Squash  # what it comes from
    sigmoid_seen: bool  # in the autograd graph behind the loss, or as the last module of the model
    lowest_loss: float  # when every prediction is right; NaN when not known
    module: ModuleFacts | None  # the only one of the model that applies it
    training: Training | None  # that minimises this loss

    @property
    def weight(self) -> tuple[Severity, Confidence]:
        """Row sums of 1 leave no doubt; a sigmoid before cross-entropy shrinks gradients and still lets it learn."""
        if self.squash == "softmax":
            return Severity.CRITICAL, Confidence.CERTAIN
        if self.seen.applies == "softmax":
            return Severity.WARNING, Confidence.CERTAIN if self.sigmoid_seen else Confidence.MEDIUM
        return Severity.CRITICAL, Confidence.HIGH


class ActivationInGraph(Judged, frozen=True):
    """The graph shows, as the last operation before a loss, what does not belong there."""

    facts: LossFacts
    activation: str  # softmax, sigmoid, tanh, relu, log_softmax
    lowest_loss: float  # when every prediction is right; NaN when not known
    training: Training | None  # that minimises this loss
    span: Span  # the whole run


class Logits(Judged, frozen=True):
    """The input of the loss is none of probabilities."""

    seen: LossInput


class TooFewSamples(Judged, frozen=True):
    """The samples of the loss's input span too few steps."""

    span: int  # steps; 0 where it was not sampled


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    explains=(
        "divergence",
        "initial_loss_mismatch",
        "frozen_parameter",
        "saturated_activation",
        "no_learning",
        "no_signal",
        "class_imbalance",
        "learning_rate_too_low",
        "vanishing_gradient",
        "layer_imbalance",
        "premature_plateau",
        "dead_relu",
    ),
)
def activation_before_loss(
    run: Run, limits: Limits
) -> Iterator[Probabilities | ActivationInGraph | Logits | TooFewSamples | NotApplicable]:
    """Look at the range and the row sums of the input of the loss, or at what the compiler's graph shows of it."""
    judged = [facts for facts in run.meta.losses if facts.function in APPLIES or unwanted_activation(facts)]
    if not judged:
        yield NotApplicable(reason="no loss was seen that applies softmax or sigmoid itself")
        return
    inputs = {facts.id: loss_input(run, facts) for facts in judged if facts.function in APPLIES}
    long_enough = {
        key: seen for key, seen in inputs.items() if seen and seen.samples > 1 and seen.steps >= limits.steps
    }
    found = [_judge(run, seen, limits) for seen in long_enough.values()]
    sampled = {one.seen.facts.id for one in found if isinstance(one, Probabilities)}
    in_graph = [facts for facts in judged if unwanted_activation(facts) and facts.id not in sampled]
    yield from (_in_graph(run, facts) for facts in in_graph)
    said = {facts.id for facts in in_graph}
    yield from (one for one in found if one.seen.facts.id not in said)
    if not found and not in_graph:
        yield TooFewSamples(max((seen.steps for seen in inputs.values() if seen), default=0))


def _judge(run: Run, seen: LossInput, limits: Limits) -> Probabilities | Logits:
    sigmoid = seen.facts.activation == "sigmoid"
    if seen.applies == "softmax":
        normalised = seen.row_sum_error < limits.row_sum
        reaches = math.isfinite(seen.row_sum_error) and (sigmoid or seen.high > limits.reach)
        squash: Squash | None = "softmax" if normalised else "sigmoid" if reaches else None
    else:
        sigmoid = sigmoid or _ends_with_sigmoid(run)
        squash = "sigmoid" if sigmoid or seen.high - seen.low >= limits.reach else None
    if squash is None or not seen.bounded:
        return Logits(seen)
    modules = [module for module in run.meta.modules if module.module_class.lower().startswith(squash)]
    return Probabilities(
        seen=seen,
        squash=squash,
        sigmoid_seen=sigmoid,
        lowest_loss=lowest_loss(seen.facts),
        module=modules[0] if len(modules) == 1 else None,
        training=_training_of(run, seen.facts),
    )


def _in_graph(run: Run, facts: LossFacts) -> ActivationInGraph:
    activation = unwanted_activation(facts)
    return ActivationInGraph(
        facts=facts,
        activation=activation,
        lowest_loss=lowest_loss_behind(facts, activation),
        training=_training_of(run, facts),
        span=Span(first=0, last=int(run.steps["global_step"].max())),
    )


def _training_of(run: Run, facts: LossFacts) -> Training | None:
    return next((one for one in run.trainings if training_loss(one).facts == facts), None)


def _ends_with_sigmoid(run: Run) -> bool:
    """Whether no module after a Sigmoid has parameters: small logits are then no explanation."""
    owners = {tensor.module for tensor in run.meta.tensors}
    after = max((module.id for module in run.meta.modules if module.name in owners), default=-1)
    return any(module.module_class == "Sigmoid" and module.id > after for module in run.meta.modules)


@activation_before_loss.tell
def _too_few(found: TooFewSamples, limits: Limits) -> Skipped:
    if not found.span:
        return Skipped(
            reason="the input of the loss was not sampled",
            enable="compute the loss with torch.nn.functional (nn.CrossEntropyLoss uses it), and record with this "
            "version",
        )
    return Skipped(
        reason=f"the samples of the loss's input span {plural(found.span, 'step')}, and this check needs "
        f"{count(limits.steps)}",
        enable=f"train for at least {count(limits.steps)} steps",
    )


@activation_before_loss.tell
def _clean(found: Logits) -> Clean:
    seen = found.seen
    return Clean(measured=f"the input of {seen.facts.function} lies between {number(seen.low)} and {number(seen.high)}")


@activation_before_loss.tell
def _finding(found: Probabilities, run: Run, limits: Limits) -> Finding:
    severity, confidence = found.weight
    seen, twice = found.seen, found.squash == found.seen.applies
    sums = " with row sums of 1" if found.squash == "softmax" else ""
    return Finding(
        severity=severity,
        confidence=confidence,
        title=f"{found.squash.capitalize()} applied twice" if twice else "Sigmoid before cross-entropy",
        headline=f"The input of {seen.facts.function} lies between {number(seen.low)} and {number(seen.high)}{sums}: "
        "probabilities, not logits",
        explanation=sampled_range(seen, found.squash) + at_best(found.lowest_loss),
        span=Span(first=seen.first, last=seen.last),
        evidence=[input_range_chart(run, seen.facts), *_curve(found.training, found.lowest_loss)],
        actions=logits_instead(run, seen.facts.function, seen.applies, found.squash, found.module),
        measures=_measures(found, limits),
    )


@activation_before_loss.tell
def _in_graph_finding(found: ActivationInGraph, run: Run) -> Finding:
    facts, activation = found.facts, found.activation
    return Finding(
        severity=_SEVERITIES.get((facts.function, activation), Severity.CRITICAL),
        confidence=Confidence.CERTAIN,
        title=activation_title(facts.function, activation),
        headline=activation_headline(facts.function, activation),
        explanation=f"In the graph {activation} is the last operation before {facts.function}. "
        + activation_effect(facts.function, activation)
        + at_best(found.lowest_loss),
        span=found.span,
        evidence=_curve(found.training, found.lowest_loss) or [last_operation_table(facts.function, activation)],
        actions=without_activation(run, facts.function, activation),
        measures=[
            Measure(quantity=f"{activation} as the last operation before the loss", value=1, comparison=">=",
                    threshold=1, unit="count"),
        ],
    )  # fmt: skip


def _curve(training: Training | None, lowest: float) -> list[AnyEvidence]:
    """The loss of the training that minimises it, and how low it can get."""
    if training is None:
        return []
    if not math.isfinite(lowest):
        return [loss_chart(training, "The training loss.", [])]
    mark = Mark(label=f"lowest possible: {number(lowest)}", y=lowest)
    return [loss_chart(training, "The training loss, and where it has to stop.", [mark])]


def _measures(found: Probabilities, limits: Limits) -> list[Measure]:
    seen, sigmoids = found.seen, float(found.sigmoid_seen)
    measures = [
        Measure(quantity="smallest input of the loss", value=seen.low, comparison=">=", threshold=0),
        Measure(quantity="largest input of the loss", value=seen.high, comparison="<=", threshold=HIGHEST),
        Measure(quantity="steps between the first and the last sample", value=seen.steps, comparison=">=",
                threshold=limits.steps, unit="count", option="steps"),
    ]  # fmt: skip
    if seen.applies == "sigmoid":
        return [
            *measures,
            Measure(quantity="largest value - smallest", value=seen.high - seen.low, comparison=">=",
                    threshold=limits.reach, option="reach", any_of="sigmoid"),
            Measure(quantity="sigmoids at the end of the model", value=sigmoids, comparison=">=", threshold=1,
                    unit="count", any_of="sigmoid"),
        ]  # fmt: skip
    measures.append(
        Measure(quantity="mean |row sum - 1|, at most", value=seen.row_sum_error, comparison="<",
                threshold=limits.row_sum, option="row_sum", any_of="normalised")
    )  # fmt: skip
    if found.squash == "softmax":
        return measures
    return [
        *measures,
        Measure(quantity="largest value", value=seen.high, comparison=">", threshold=limits.reach, option="reach",
                any_of="normalised"),
        Measure(quantity="sigmoids that the values were seen to come from", value=sigmoids, comparison=">=",
                threshold=1, unit="count", any_of="normalised"),
    ]  # fmt: skip
