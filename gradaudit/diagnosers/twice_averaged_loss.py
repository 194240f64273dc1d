"""The loss is averaged twice: the mean is divided by the batch size again, so small batches take large steps.

## What it looks for

The differentiated loss over the mean loss per target, at every step. Where that ratio is one over the number of
examples, or of targets, up to a weight, and stays so to within 2 % while batches differ in size, a loss that is
already a mean was divided by the batch size again. So it was where the autograd graph shows that the loss is
multiplied with a weight over the size of each batch, whatever else is added to it. The largest batch at `uneven`
times the smallest makes it a warning, and critical when training then diverges, ends in NaN or learns nothing. It is
a note where the batches hardly differ, and where the optimizer divides by the size of the gradient, as Adam does.
With batches of one size the factor can mean anything, and all steps have one length: they are not reported.

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

import msgspec
import numpy

from gradaudit.chart_data import Lines, Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.optimizers import line_with_rates, rate_in_words
from gradaudit.evidence.words.outcomes import divergence_sentence
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, number, plural
from gradaudit.evidence.words.wording import factor as factor_of
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.signals.gradients.finiteness import diverged_before, non_finite_onset
from gradaudit.signals.loss.bad_outcome import BadOutcome, bad_outcome
from gradaudit.signals.loss.objective import SAME, Factor, factor
from gradaudit.signals.loss.term_factors import Divided, divided_term
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats, Integers, median
from gradaudit.signals.updates.learning_rates import is_adaptive, peak_rates
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """From where on batches of different sizes count differently."""

    uneven: float = 2.0  # a step twice as long as the others; batches of accumulated or packed data differ by less


class AveragedTwice(Judged, frozen=True):
    """A mean is divided by the batch size again."""

    function: str  # the loss function whose mean it is
    varies: float  # greatest / smallest factor between the differentiated loss and the mean, in units of 1 / batch
    weight: float  # beside the mean and the batch size
    weighted: bool  # that weight is not 1
    usual: int  # examples, or targets, of the median batch
    smallest: int
    smallest_at: int  # global step
    apart: float  # usual / smallest
    uneven: bool  # they are so far apart that small batches take much longer steps
    adaptive: bool  # the optimizer divides the factor out again, but for single batches
    outcome: BadOutcome | None
    broke_without_diverging: bool  # NaN or infinity came out of nothing: what became of the loss is not told
    rates: Floats  # [groups] peak learning rates
    lower: Floats  # [groups] those that keep the usual step as long as it is
    steps: Integers  # [steps with both losses] global
    factors: Floats  # [steps with both losses] differentiated / mean loss
    span: Span

    @property
    def severity(self) -> Severity:
        """A note where all batches are about as large, or the optimizer divides the factor out again."""
        if not self.uneven or self.adaptive:
            return Severity.NOTE
        return Severity.CRITICAL if self.outcome else Severity.WARNING


class AveragedOnce(Judged, frozen=True):
    """No mean is divided by the batch size again."""

    factor: float  # the median one of the differentiated loss over the mean loss
    unit: str  # of that factor, as of `Factor.unit`


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
    training: Training, limits: Limits
) -> Iterator[AveragedTwice | AveragedOnce | NotApplicable | Skipped]:
    """Compare the differentiated loss with the mean loss, step by step."""
    loss = training_loss(training)
    times = factor(training.steps, loss.values)
    divided = _divided(loss)
    if divided is not None:
        # Exact, and whatever else is added to the objective.
        batches = training.steps["batch_size"].to_numpy(dtype=float)
        usual = median(batches[batches > 0] if (batches > 0).any() else divided.sizes)
        yield _averaged_twice(loss, divided, round(usual), limits)
    elif loss.minor:
        yield NotApplicable(reason=unclear_in_words(loss.minor))
    elif loss.facts is None or times is None:
        yield Skipped(
            reason="no mean loss of a known function was seen beside the differentiated loss",
            enable="use a loss of torch.nn.functional (nn.CrossEntropyLoss uses one)",
        )
    elif (sizes := _sizes(loss, times)) is None:
        yield AveragedOnce(median(times.values), times.unit)
    else:
        objective = training.steps["objective"].to_numpy(dtype=float)[times.places]
        steps, factors = loss.steps[times.places], objective / loss.values[times.places]
        yield _averaged_twice(loss, Divided(steps, sizes, factors, times.range), round(median(sizes)), limits)


def _divided(loss: TrainingLoss) -> Divided | None:
    """The factors of the loss in the graph, where it is a mean that is divided by the size of the batch again."""
    facts, training = loss.facts, loss.training
    if facts is None or facts.reduction != "mean" or facts.function == "logged":
        return None
    return divided_term(training.run.meta.graph.terms, training.id, facts, SAME)


def _sizes(loss: TrainingLoss, times: Factor) -> Floats | None:
    """[steps with both losses]: the batches by which a mean was divided again; None where it was not."""
    frame = loss.training.steps
    # Beside a mean of torch's own any further factor is a weight; what another function gives may be a sum.
    mean = loss.facts is not None and loss.facts.reduction == "mean" and loss.facts.function != "logged"
    for unit, column in (("1 / batch", "batch_size"), ("1 / targets", "targets")):
        # In that unit the ratio is one number, and 1 without a weight.
        if times.unit == unit and times.range <= SAME and (mean or _is_one(median(times.values))):
            return frame[column].to_numpy(dtype=float)[times.places]
    return None


def _is_one(factor: float) -> bool:
    return abs(factor - 1) <= SAME - 1


def _averaged_twice(loss: TrainingLoss, divided: Divided, usual: int, limits: Limits) -> AveragedTwice:
    training = loss.training
    steps, sizes, factors, varies = divided
    smallest, rates = int(sizes.min()), peak_rates(training)
    weight = median(factors * sizes)
    onset = non_finite_onset(training)
    return AveragedTwice(
        function=loss.facts.function if loss.facts else "the loss",
        varies=varies,
        weight=weight,
        weighted=not _is_one(weight),
        usual=usual,
        smallest=smallest,
        smallest_at=int(steps[int(numpy.argmin(sizes))]),
        apart=usual / smallest,
        uneven=usual / smallest >= limits.uneven,
        adaptive=is_adaptive(training),
        outcome=bad_outcome(training),
        broke_without_diverging=onset is not None and not diverged_before(onset),
        rates=rates,
        lower=rates / usual,
        steps=steps,
        factors=factors,
        span=Span(first=int(steps[0]), last=int(steps[-1])),
    )


@twice_averaged_loss.tell
def _once(found: AveragedOnce) -> Clean:
    per = "" if found.unit == "1" else f", per {found.unit.removeprefix('1 / ')}"
    return Clean(measured=f"the differentiated loss is {number(found.factor)} times the mean loss{per}")


@twice_averaged_loss.tell
def _twice(found: AveragedTwice, training: Training, limits: Limits) -> Finding:
    return Finding(
        severity=found.severity,
        confidence=Confidence.CERTAIN,
        title="Loss averaged twice",
        headline=f"A batch of {count(found.smallest)} counts {factor_of(found.apart)} times as much as one of "
        f"{count(found.usual)}: the mean loss is divided by the batch size again"
        if found.uneven
        else f"The mean loss is divided by the batch size again, which is {count(found.usual)}",
        explanation=_explanation(found),
        span=found.span,
        evidence=[_chart(found), loss_chart(training, "The training loss of the same steps.", [])],
        actions=[
            Action(text=f"Do not divide: {found.function} averages over the batch by default",
                   code="loss = criterion(output, target)"),
            Action(text=f"Divide the learning rate by {count(found.usual)} in exchange, from "
                   f"{rate_in_words(found.rates)} to {rate_in_words(found.lower)}",
                   code=line_with_rates(training, found.lower)),
            Action(text="Or leave the last, small batch out", code="DataLoader(dataset, batch_size, drop_last=True)"),
        ],
        measures=[
            Measure(quantity="how much that varies over the steps", value=found.varies, comparison="<=",
                    threshold=SAME),
            Measure(quantity="usual batch / smallest", value=found.apart, comparison=">=", threshold=limits.uneven,
                    option="uneven", decides="warning"),
        ],
    )  # fmt: skip


def _explanation(found: AveragedTwice) -> str:
    weighted = f", times {number(found.weight)}," if found.weighted else ""
    sentences = [
        f"At each of {plural(len(found.steps), 'step')} the differentiated loss is {found.function}{weighted} divided "
        f"by the number of examples, and {found.function} is already a mean. The usual batch has "
        f"{count(found.usual)}.",
        f"The smallest has {count(found.smallest)}, first at step {count(found.smallest_at)}: its gradient is "
        f"{number(found.apart)} times as large as with a plain mean, compared with the others.",
    ]
    if found.adaptive:
        sentences.append(
            "The optimizer divides by the size of the gradient, which evens this out but for single batches."
        )
    if found.outcome and not found.broke_without_diverging:
        sentences.append(divergence_sentence(found.outcome))
    return " ".join(sentences)


def _chart(found: AveragedTwice) -> Lines:
    return Lines(
        title="Differentiated loss over mean loss",
        caption="One over the batch size at every step: it leaps where a batch is small.",
        x_label="step",
        y_label="objective / mean loss",
        series=[plain("objective / mean loss", found.steps, found.factors)],
        marks=[Mark(label=f"1 / {count(found.usual)}", y=1 / found.usual, role="reference")],
        log=found.apart > 10,
    )
