"""The loss is averaged twice: the mean is divided by the batch size again, so small batches take large steps.

## What it looks for

The differentiated loss over the mean loss per target, at every step. Where that ratio is one over the number of
examples, or of targets, up to a weight, and stays so to within 2 % while batches differ in size, a loss that is already
a mean was divided by the batch size again. The largest batch at `uneven` times the smallest makes it a warning, and
critical when training then diverges, ends in NaN or learns nothing. It is a note where the batches hardly differ, and
where the optimizer divides by the size of the gradient, as Adam does. With batches of one size the factor can mean
anything, and all steps have one length: they are not reported.

## Why it matters

With batches of one size this is a learning rate that is that many times smaller, and the rate is chosen to make up for
it. Then the last batch of an epoch comes, with 2 examples instead of 50: its gradient is divided by 2, and its step is
25 times as long as the others.

## What to try

Do not divide: losses average over the batch by default. Divide the learning rate by the usual batch size in exchange,
so that the other steps stay what they are. Or sum in the loss, `reduction="sum"`, and divide once.

## When it is wrong

A script that weighs each example by one over the size of its batch on purpose does just this. A loss that is seen
through a function of the script's own has to be a mean for the ratio to mean what it says; a sum over a few outputs
of each example is none, and is not reported.
"""

from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.optimizers import optimizer_line, rate_in_words
from gradaudit.evidence.words.outcomes import divergence_sentence
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, number, plural
from gradaudit.evidence.words.wording import factor as factor_of
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
)
from gradaudit.signals.gradients.finiteness import diverged_before, non_finite_onset
from gradaudit.signals.loss.objective import SAME, Factor, factor
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, median
from gradaudit.signals.updates.learning_rates import is_adaptive, peak_rates, same_rate
from gradaudit.training import Training


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("steps.mean_loss", "steps.objective"),
    minimum_steps=10,
    explains=(
        "learning_rate_too_high",
        "learning_rate_too_low",
        "divergence",
        "non_finite",
        "loss_spike",
        "unstable_loss",
        "gradient_growth",
        "dead_relu",
        "no_learning",
        "no_signal",
        "constant_clipping",
        "vanishing_gradient",
        "premature_plateau",
        "layer_imbalance",
    ),
)
def twice_averaged_loss(
    training: Training,
    *,
    uneven: float = 2.0,  # a step twice as long as the others; batches of accumulated or packed data differ by less
) -> Iterator[Verdict]:
    """Compare the differentiated loss with the mean loss, step by step."""
    loss, frame = training_loss(training), training.steps
    times = factor(frame, loss.values)
    if loss.minor:
        yield NotApplicable(reason=unclear_in_words(loss.minor))
        return
    if loss.facts is None or times is None:
        yield Skipped(
            reason="no mean loss of a known function was seen beside the differentiated loss",
            enable="use a loss of torch.nn.functional (nn.CrossEntropyLoss uses one)",
        )
        return
    sizes = _sizes(loss, times)
    typical = median(times.values)
    if sizes is None:
        yield Clean(
            measured=f"the differentiated loss is {number(typical)} times the mean loss"
            + ("" if times.unit == "1" else f", per {times.unit.removeprefix('1 / ')}")
        )
        return
    yield _finding(loss, times, sizes, uneven)


def _sizes(loss: TrainingLoss, times: Factor) -> Floats | None:
    """[steps with both losses]: the batches by which a mean was divided again; None where it was not."""
    frame = loss.training.steps
    # Beside a mean of torch's own any further factor is a weight; what another function gives may be a sum.
    mean = loss.facts is not None and loss.facts.reduction == "mean" and loss.facts.function != "logged"
    for unit, column in (("1 / batch", "batch_size"), ("1 / targets", "targets")):
        # In that unit the ratio is one number, and 1 without a weight.
        if times.unit == unit and times.range <= SAME and (mean or abs(median(times.values) - 1) <= SAME - 1):
            return frame[column].to_numpy(dtype=float)[times.places]
    return None


def _finding(loss: TrainingLoss, times: Factor, sizes: Floats, uneven: float) -> Finding:
    training, frame = loss.training, loss.training.steps
    usual, least = round(median(sizes)), int(sizes.min())
    apart = usual / least
    broken = non_finite_onset(training)
    harm = divergence_sentence(training)
    matters = apart >= uneven and not is_adaptive(training)
    severity = Severity.NOTE if not matters else Severity.CRITICAL if harm else Severity.WARNING
    steps = loss.steps[times.places]
    smallest = int(steps[int(numpy.argmin(sizes))])
    function = loss.facts.function if loss.facts else "the loss"
    rates = peak_rates(training)
    lower = rates / usual
    of_objective = frame["objective"].to_numpy(dtype=float)[times.places] / loss.values[times.places]
    weight = median(of_objective * sizes)
    weighed = "" if abs(weight - 1) <= SAME - 1 else f", times {number(weight)},"
    seen = [
        f"At each of {plural(len(sizes), 'step')} the differentiated loss is {function}{weighed} divided by the number "
        f"of examples, and {function} is already a mean. The usual batch has {count(usual)}."
    ]
    seen.append(
        f"The smallest has {count(least)}, first at step {count(smallest)}: its gradient is {number(apart)} times as "
        "large as with a plain mean, compared with the others."
    )
    if is_adaptive(training):
        seen.append("The optimizer divides by the size of the gradient, which evens this out but for single batches.")
    if harm and not (broken is not None and not diverged_before(broken)):
        seen.append(harm)
    return Finding(
        severity=severity,
        confidence=Confidence.CERTAIN,
        title="Loss averaged twice",
        headline=f"A batch of {count(least)} counts {factor_of(apart)} times as much as one of {count(usual)}: "
        "the mean loss is divided by the batch size again"
        if apart >= uneven
        else f"The mean loss is divided by the batch size again, which is {count(usual)}",
        explanation=" ".join(seen),
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        evidence=[
            Lines(
                title="Differentiated loss over mean loss",
                caption="One over the batch size at every step: it leaps where a batch is small.",
                x_label="step",
                y_label="objective / mean loss",
                series=[plain("objective / mean loss", steps, of_objective)],
                marks=[Mark(label=f"1 / {count(usual)}", y=1 / usual, role="reference")],
                log=bool(apart > 10),
            ),
            loss_chart(training, "The training loss of the same steps.", []),
        ],
        actions=[
            Action(text=f"Do not divide: {function} averages over the batch by default",
                   code="loss = criterion(output, target)"),
            Action(text=f"Divide the learning rate by {count(usual)} in exchange, from {rate_in_words(rates)} to "
                   f"{rate_in_words(lower)}",
                   code=optimizer_line(training, lr=rate_in_words(lower)) if same_rate(lower) else ""),
            Action(text="Or leave the last, small batch out", code="DataLoader(dataset, batch_size, drop_last=True)"),
        ],
        measures=[
            Measure(quantity="how much that varies over the steps", value=times.range, comparison="<=",
                    threshold=SAME),
            Measure(quantity="usual batch / smallest", value=apart, comparison=">=", threshold=uneven,
                    option="uneven", decides="warning"),
        ],
    )  # fmt: skip
