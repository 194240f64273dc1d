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
from typing import TYPE_CHECKING

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.module_names import layer
from gradaudit.evidence.words.wording import count, in_code, number, plural
from gradaudit.findings import (
    Action,
    AnyEvidence,
    Clean,
    Confidence,
    CouldNotLook,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Span,
    Verdict,
)
from gradaudit.reading.run import Run
from gradaudit.schema import LossFacts
from gradaudit.signals.activations.module_samples import loss_inputs
from gradaudit.signals.loss.training_loss import training_loss

if TYPE_CHECKING:
    import pandas

_SOFTMAX, _SIGMOID = "cross_entropy", "binary_cross_entropy_with_logits"
_ROUNDING = 1e-6


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
    run: Run,
    *,
    steps: float = 50,  # all 21 faulty runs were found by then, without a false alarm in 410 healthy ones
    row_sum: float = 1e-3,  # rounding leaves 1e-7 in float32, and 1e-3 of what float16 sums to
    reach: float = 0.9,  # a sigmoid that learns comes near its bounds; small logits do not stop there
) -> Iterator[Verdict]:
    """Look at the range and the row sums of the input of the loss."""
    judged = [facts for facts in run.meta.losses if facts.function in (_SOFTMAX, _SIGMOID)]
    if not judged:
        yield NotApplicable(reason="no loss was seen that applies softmax or sigmoid itself")
        return
    known = [(facts, loss_inputs(run, facts.id)) for facts in judged]
    wired = [facts for facts, frame in known if not len(frame) and _activates_twice(facts)]
    if wired:
        yield from (_of_the_graph(run, facts) for facts in wired)
        return
    long_enough = [(facts, frame) for facts, frame in known if len(frame) > 1 and _span(frame) + 1 >= steps]
    if not long_enough:
        spans = max((_span(frame) + 1 for _, frame in known if len(frame)), default=0)
        yield CouldNotLook(
            reason=f"the samples of the loss's input span {plural(spans, 'step')}, and this check needs {count(steps)}"
            if spans
            else "the input of the loss was not sampled",
            enable=f"train for at least {count(steps)} steps"
            if spans
            else "compute the loss with torch.nn.functional (nn.CrossEntropyLoss uses it), and record with this "
            "version",
        )
        return
    for facts, frame in long_enough:
        yield _judge(run, facts, frame, row_sum, reach, steps)


def _span(frame: "pandas.DataFrame") -> int:
    return int(frame["step"].iloc[-1]) - int(frame["step"].iloc[0])


def _judge(
    run: Run, facts: LossFacts, frame: "pandas.DataFrame", row_sum: float, reach: float, steps: float
) -> Verdict:
    low, high = float(frame["minimum"].min()), float(frame["maximum"].max())
    errors = frame["row_sum_error"].to_numpy(dtype=float)
    error = float(numpy.nanmax(errors)) if numpy.isfinite(errors).any() else math.nan
    # Outputs that are all zero are a dead layer's: a sigmoid gives 0.5 for it.
    bounded = low >= 0 and 0 < high <= 1 + _ROUNDING
    measures = [
        Measure(quantity="smallest input of the loss", value=low, comparison=">=", threshold=0),
        Measure(quantity="largest input of the loss", value=high, comparison="<=", threshold=1 + _ROUNDING),
        Measure(quantity="steps between the first and the last sample", value=_span(frame) + 1, comparison=">=",
                threshold=steps, unit="count", option="steps"),
    ]  # fmt: skip
    if facts.function == _SOFTMAX:
        measures.append(
            Measure(quantity="mean |row sum - 1|, at most", value=error, comparison="<", threshold=row_sum,
                    option="row_sum", any_of="normalised")
        )  # fmt: skip
        if bounded and error < row_sum:
            return _finding(run, facts, frame, "softmax", Severity.CRITICAL, Confidence.CERTAIN, measures)
        seen = facts.activation == "sigmoid"
        if bounded and (seen or high > reach) and math.isfinite(error):
            measures.extend([
                Measure(quantity="largest value", value=high, comparison=">", threshold=reach, option="reach",
                        any_of="normalised"),
                Measure(quantity="sigmoids that the values were seen to come from", value=seen, comparison=">=",
                        threshold=1, unit="count", any_of="normalised"),
            ])  # fmt: skip
            sure = Confidence.CERTAIN if seen else Confidence.MEDIUM
            return _finding(run, facts, frame, "sigmoid", Severity.WARNING, sure, measures)
    elif bounded and (facts.activation == "sigmoid" or high - low >= reach or _ends_with_sigmoid(run)):
        ends = facts.activation == "sigmoid" or _ends_with_sigmoid(run)
        measures += [
            Measure(quantity="largest value - smallest", value=high - low, comparison=">=", threshold=reach,
                    option="reach", any_of="sigmoid"),
            Measure(quantity="sigmoids at the end of the model", value=ends, comparison=">=", threshold=1, unit="count",
                    any_of="sigmoid"),
        ]  # fmt: skip
        return _finding(run, facts, frame, "sigmoid", Severity.CRITICAL, Confidence.HIGH, measures)
    return Clean(measured=f"the input of {facts.function} lies between {number(low)} and {number(high)}")


def _activates_twice(facts: LossFacts) -> bool:
    """Whether the graph behind the loss ends in what the loss applies itself, over the classes."""
    return (
        facts.activation == "softmax" and facts.softmax_over == facts.classes > 1
        if facts.function == _SOFTMAX
        else facts.activation == "sigmoid"
    )


def _of_the_graph(run: Run, facts: LossFacts) -> Finding:
    """What the compiler's graph shows of a loss whose input nobody could sample."""
    what = facts.activation or ""
    floor = _floor(facts)
    training = next((one for one in run.trainings if training_loss(one).facts == facts), None)
    marks = [Mark(label=f"lowest possible: {number(floor)}", y=floor)] if math.isfinite(floor) else []
    caption = "The training loss, and where it has to stop." if marks else "The training loss."
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title=f"{what.capitalize()} applied twice",
        headline=f"The input of {facts.function} is the output of a {what}: probabilities, not logits",
        seen=f"In the compiled graph a {what} is the last operation before {facts.function}, which applies {what} "
        "to its input itself."
        + (f" Even with every prediction right the loss would be {number(floor)}." if marks else ""),
        span=Span(first=0, last=int(run.steps["global_step"].max())),
        evidence=[loss_chart(training, caption, marks)] if training is not None else [],
        actions=[
            Action(text=f"Remove the {what} before the loss: {facts.function} expects logits",
                   code=f"loss = {facts.function}(logits, target)"),
            Action(text=f"Apply {what} to the outputs only where a probability is shown"),
        ],
        measures=[Measure(quantity=f"{what} as the last operation before the loss", value=1, comparison=">=",
                          threshold=1, unit="count")],
    )  # fmt: skip


def _ends_with_sigmoid(run: Run) -> bool:
    """Whether no module after a Sigmoid has parameters: small logits are then no explanation."""
    owners = {tensor.module for tensor in run.meta.tensors}
    after = max((module.id for module in run.meta.modules if module.name in owners), default=-1)
    return any(module.module_class == "Sigmoid" and module.id > after for module in run.meta.modules)


def _finding(
    run: Run,
    facts: LossFacts,
    frame: "pandas.DataFrame",
    what: str,
    severity: Severity,
    confidence: Confidence,
    measures: list[Measure],
) -> Finding:
    low, high = float(frame["minimum"].min()), float(frame["maximum"].max())
    own = "softmax" if facts.function == _SOFTMAX else "sigmoid"
    sums = " with row sums of 1" if what == "softmax" else ""
    floor = _floor(facts)
    seen = [
        f"In all {plural(len(frame), 'sample')} from step {count(frame['step'].iloc[0])} to "
        f"{count(frame['step'].iloc[-1])} the values lie between {number(low)} and {number(high)}"
        + (" and each row sums to 1" if sums else "")
        + f", as after a {what}. {facts.function} then applies {own} to them."
    ]
    if math.isfinite(floor):
        seen.append(f"Even with every prediction right the loss would be {number(floor)}.")
    chart: list[AnyEvidence] = [_range_chart(facts, frame)]
    training = next((one for one in run.trainings if training_loss(one).facts == facts), None)
    if training is not None:
        marks = [Mark(label=f"lowest possible: {number(floor)}", y=floor)] if math.isfinite(floor) else []
        chart.append(loss_chart(training, "The training loss, and where it has to stop.", marks))
    modules = [module for module in run.meta.modules if module.module_class.lower().startswith(what)]
    own_module = layer(run, modules[0].name) or modules[0].module_class if len(modules) == 1 else ""
    remove = f"Remove {own_module}" if own_module else f"Remove the {what} before the loss"
    if own_module and "(" not in own_module:
        remove += f", the {what} of the model"
    expects, instead = (
        ("log_softmax", "nll_loss(log_softmax(logits, dim=1), target)") if own == "softmax"
        else ("a sigmoid", "binary_cross_entropy(torch.sigmoid(logits), target)")
    )  # fmt: skip
    return Finding(
        severity=severity,
        confidence=confidence,
        title=f"{what.capitalize()} applied twice" if what == own else "Sigmoid before cross-entropy",
        headline=f"The input of {facts.function} lies between {number(low)} and {number(high)}{sums}: probabilities, "
        "not logits",
        seen=" ".join(seen),
        span=Span(first=int(frame["step"].iloc[0]), last=int(frame["step"].iloc[-1])),
        evidence=chart,
        actions=[
            Action(text=f"{remove}: {facts.function} expects logits, and applies {own} itself",
                   code=f"{in_code(modules[0].name)} = nn.Identity()" if len(modules) == 1 else
                   f"loss = {facts.function}(logits, target)"),
            Action(text=f"Or keep it, and use the loss that expects {expects}", code=instead),
            Action(text=f"Apply {what} to the outputs only where a probability is shown"),
        ],
        measures=measures,
    )  # fmt: skip


def _floor(facts: LossFacts) -> float:
    """The loss when every answer is right and sure, a probability of 1 being a logit of 1; NaN when not known."""
    if facts.function == _SOFTMAX:
        weighted = facts.weighted or facts.label_smoothing > 0 or facts.soft_targets
        return math.nan if weighted or facts.classes < 2 else math.log(math.e + facts.classes - 1) - 1
    if facts.target_mean is None or facts.weighted or not 0 <= facts.target_mean <= 1:
        return math.nan
    return facts.target_mean * math.log(1 + math.exp(-1)) + (1 - facts.target_mean) * math.log(2)


def _range_chart(facts: LossFacts, frame: "pandas.DataFrame") -> Lines:
    steps = frame["step"].to_numpy()
    return Lines(
        title=f"Input of {facts.function}",
        caption="The smallest and the largest value of each sample. Logits go below 0 and above 1.",
        x_label="step",
        y_label="value",
        series=[
            plain("largest", steps, frame["maximum"].to_numpy(dtype=float), role="flagged"),
            plain("smallest", steps, frame["minimum"].to_numpy(dtype=float), role="flagged"),
        ],
        marks=[Mark(label="1", y=1.0, role="reference"), Mark(label="0", y=0.0, role="reference")],
    )
