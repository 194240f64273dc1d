"""Softmax or sigmoid is applied twice: the loss receives probabilities where it expects logits.

## What it looks for

cross_entropy and binary_cross_entropy_with_logits apply softmax and sigmoid themselves. Their input is sampled during
training. Over samples that span `steps` steps or more every value of every sample lies between 0 and 1. For
cross_entropy that is critical when each row sums to 1 with a mean error below `row_sum`, and a warning, as of a
sigmoid, when rows do not and values go beyond `reach`, or the autograd graph behind the loss shows a sigmoid. For the
binary loss it is critical when the values are spread over `reach` or more, when the graph shows a sigmoid, or when the
model ends with a Sigmoid module. Inside a compiled region, where nothing can be sampled, the compiler's graph tells.

## Why it matters

With probabilities as logits the loss can favour the right class by a factor of e at most. It stops far above zero (at
1.46 with ten classes), and the first softmax shrinks every gradient, most where the model is confident.

## What to try

Let the model end with its last linear layer, and apply softmax or sigmoid only to show or to threshold a prediction. To
keep the softmax, use log_softmax with nll_loss; to keep the sigmoid, binary_cross_entropy.

## When it is wrong

No other cause is known for logits that are all between 0 and 1 and sum to 1 for fifty steps. binary_cross_entropy
and nll_loss expect what follows a sigmoid or log_softmax, and are not judged. Logits that are bounded on purpose, such
as cosines without a temperature, look like a sigmoid, and are held back in the same way. In a compiled model a sigmoid
that is called as a function and stays near 0.5 is not distinguished from the small logits of a weak signal.
"""

import math
from collections.abc import Iterator

import msgspec

from gradaudit.chart_data import AnyEvidence, Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.loss_inputs import input_range_chart
from gradaudit.evidence.words.probabilities import at_best, logits_instead, sampled_range
from gradaudit.evidence.words.wording import count, number, plural
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts, ModuleFacts
from gradaudit.signals.loss.loss_input import (
    APPLIES,
    HIGHEST,
    LossInput,
    Squash,
    activated_twice,
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
    """The compiler's graph shows, before a loss whose input nobody could sample, what that loss applies itself."""

    facts: LossFacts
    squash: Squash  # what it comes from
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
    minimum_steps=50,
    explains=(
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
def double_softmax(
    run: Run, limits: Limits
) -> Iterator[Probabilities | ActivationInGraph | Logits | TooFewSamples | NotApplicable]:
    """Look at the range and the row sums of the input of the loss, or at what the compiler's graph shows of it."""
    judged = [facts for facts in run.meta.losses if facts.function in APPLIES]
    if not judged:
        yield NotApplicable(reason="no loss was seen that applies softmax or sigmoid itself")
        return
    inputs = [(facts, loss_input(run, facts)) for facts in judged]
    in_graph = [facts for facts, seen in inputs if seen is None and activated_twice(facts)]
    if in_graph:
        yield from (_in_graph(run, facts) for facts in in_graph)
        return
    sampled = [seen for _, seen in inputs if seen is not None]
    long_enough = [seen for seen in sampled if seen.samples > 1 and seen.steps >= limits.steps]
    if not long_enough:
        yield TooFewSamples(max((seen.steps for seen in sampled), default=0))
        return
    for seen in long_enough:
        yield _judge(run, seen, limits)


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
    return ActivationInGraph(
        facts=facts,
        squash=APPLIES[facts.function],
        lowest_loss=lowest_loss(facts),
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


@double_softmax.tell
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


@double_softmax.tell
def _clean(found: Logits) -> Clean:
    seen = found.seen
    return Clean(measured=f"the input of {seen.facts.function} lies between {number(seen.low)} and {number(seen.high)}")


@double_softmax.tell
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


@double_softmax.tell
def _in_graph_finding(found: ActivationInGraph, run: Run) -> Finding:
    facts, squash = found.facts, found.squash
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title=f"{squash.capitalize()} applied twice",
        headline=f"The input of {facts.function} is the output of a {squash}: probabilities, not logits",
        explanation=f"In the compiled graph a {squash} is the last operation before {facts.function}, which applies "
        f"{squash} to its input itself.{at_best(found.lowest_loss)}",
        span=found.span,
        evidence=_curve(found.training, found.lowest_loss),
        actions=logits_instead(run, facts.function, squash, squash, None),
        measures=[
            Measure(quantity=f"{squash} as the last operation before the loss", value=1, comparison=">=", threshold=1,
                    unit="count"),
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
