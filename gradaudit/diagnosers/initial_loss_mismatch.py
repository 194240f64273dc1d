"""The first loss is not what an untrained model should have.

## What it looks for

An untrained classifier predicts N classes uniformly and has a loss of ln N, and ln 2 for each binary output. The first
mean loss per valid target is compared with that. Label smoothing, and class weights with reduction='mean', do not move
it. A first loss above ln N by more than `excess` of it, and by more than `floor`, is a warning; for binary outputs
above `binary_excess` times ln 2. A first batch of fewer than `few` targets is given more room, and so are uneven
labels, by up to `uneven` where nearly all are of one class. It is a note up to `mild` times ln N where the loss is
below ln N for good before `soon` of the run is over: then the start cost next to nothing. It is critical above `severe`
(for binary outputs `binary_severe`) times when training then diverges or learns nothing. Below `low` times both ln N
and the entropy of the labels it is a note. A negative first loss of a likelihood is always wrong.

The differentiated loss is then compared with the mean: a factor that matches the batch at every step looks like
reduction='sum', one that matches the micro-steps like accumulation without division. Where other terms are minimised,
too, the sum is their weight, and is meant. Labels that fill at most half of at most `vocabulary` outputs look like a
wrong output layer.

For a squared error the first loss is compared with the variance of the target (`variance` times), and the spread of the
target with `spread`; this is a note, and a warning when training then keeps more than `learned` of the first loss. The
mean square of the untrained outputs against that of the target shows which of the two is the cause.

## Why it matters

The first loss is the one value of a run that is known in advance. A start far above it means logits, a target or a
reduction on the wrong scale; the first updates are then far too large, and the run spends its first steps, or all of
them, undoing them.

## What to try

Initialise the output layer small, standardise inputs and regression targets, whichever of them is off, average the loss
over the batch, and give the output layer as many units as there are classes.

## When it is wrong

A pretrained model starts low, which is why that is a note; one that an earlier optimizer trained may start high, and is
not judged. A few healthy models start up to 1.2 times above ln N, up to 1.5 times with two classes. A regression on raw
targets can be handled by the initial bias or the learning rate.
Losses whose start is not known (contrastive, adversarial, policy gradients, your own) are left out.
"""

import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.first_loss import first_losses
from gradaudit.evidence.words import first_likelihood as words
from gradaudit.evidence.words.first_regression import advice, beside_variance, disease, explanation
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import factor, number
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.schema import LossFacts
from gradaudit.signals.loss.bad_outcome import BadOutcome, bad_outcome
from gradaudit.signals.loss.constant_predictor import constant_loss, uniform_loss
from gradaudit.signals.loss.first_likelihood import (
    BelowChance,
    ExpectedStart,
    Mismatch,
    NearUniform,
    NegativeLikelihood,
    NotAveraged,
    Overconfident,
    UnusedOutputs,
    first_likelihood,
)
from gradaudit.signals.loss.first_loss import unevenness
from gradaudit.signals.loss.first_regression import Cause, cause
from gradaudit.signals.loss.trained_before import trained_before
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.updates.scheduler_plan import learning_rate_gone
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """From where on a first loss is not that of an untrained model."""

    excess: float = 0.25  # healthy starts reach 1.18 ln N with 10 classes or more
    floor: float = 0.35  # nats; a wide head on two classes starts up to 0.33 above ln 2
    severe: float = 2.0  # the faults measured start at 1.8 ln N and more, most far above 2
    mild: float = 1.5  # times ln N; torch.nn's default start of makemore's smallest models has 1.33, the faults 1.8
    soon: float = 0.1  # of the steps; as in loss_spike, where the first tenth of a run is left out
    low: float = 0.5  # fine-tuned models start at 0.71 ln N
    binary_excess: float = 1.5  # batches of one example reach 1.26 ln 2
    binary_severe: float = 3.0  # twice `binary_excess`
    vocabulary: float = 100  # byte and word vocabularies leave most outputs unused and are healthy
    variance: float = 2.5  # a constant at the mean has 1; autoencoders reach 3.7, hence only a note
    spread: float = 10.0  # default learning rates and initialisations expect targets of order 1
    uneven: float = 0.35  # nats; of 11,520 default starts, most on uneven labels, the worst was 0.68 above ln 5
    few: float = 32  # targets; with 1 to 4, up to 22 % of default initialisations start above the other limits
    learned: float = 0.7  # a run that loses more of its first loss has coped


class OffScale(Judged, frozen=True):
    """The target of a squared error, or the untrained output, is far from order 1."""

    loss: TrainingLoss
    cause: Cause
    variance: float  # of the target
    ratio: float  # of the first loss to it
    kept: float  # last loss / first; NaN where the first is 0, or the last is
    stuck: bool  # so much of the first loss is kept that training has not coped
    outcome: BadOutcome | None
    harmed: bool  # by one or the other


class OnScale(Judged, frozen=True):
    """A squared error starts near the variance of its target, and that is of order 1."""

    first: float
    ratio: float  # of that loss to the variance of the target
    deviation: float  # of the target


class NoNumber(Judged, frozen=True):
    """The first loss is NaN or infinite."""

    first: float


class UnknownStart(Judged, frozen=True):
    """Where a loss starts is not known."""

    function: str
    why: Literal["scale", "weights", "trained"]  # scale: of the data; trained: the model was, before this optimizer


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("steps.objective",),
    minimum_steps=1,
    explains=(
        "learning_rate_too_high",
        "divergence",
        "no_learning",
        "unstable_loss",
        "gradient_growth",
        "layer_imbalance",
        "non_finite",
        "dead_relu",
        "no_signal",
    ),
)
def initial_loss_mismatch(
    training: Training, limits: Limits
) -> Iterator[Mismatch | NearUniform | OffScale | OnScale | NoNumber | UnknownStart | NotApplicable | Skipped]:
    """Compare the first loss with that of an untrained model."""
    loss = training_loss(training)
    facts = loss.facts
    if loss.minor:
        yield NotApplicable(reason=unclear_in_words(loss.minor))
    elif facts is None:
        yield Skipped(
            reason=unclear_in_words(loss.not_interpretable),
            enable="use a loss of torch.nn.functional (nn.CrossEntropyLoss uses one), so that its classes can be seen",
        )
    elif loss.not_interpretable:
        yield NotApplicable(reason=unclear_in_words(loss.not_interpretable))
    elif not math.isfinite(loss.first):
        yield NoNumber(loss.first)
    elif loss.kind == "regression":
        yield _regression(loss, facts, limits)
    elif loss.kind == "other" or math.isnan(uniform_loss(facts, loss.kind)):
        yield UnknownStart(facts.function, "scale" if loss.kind == "other" else "weights")
    else:
        found = first_likelihood(loss, facts, _expected(loss, facts, limits), limits.vocabulary, limits.soon)
        trained = isinstance(found, Overconfident) and trained_before(training)
        yield UnknownStart(facts.function, "trained") if trained else found


def _expected(loss: TrainingLoss, facts: LossFacts, limits: Limits) -> ExpectedStart:
    uniform, constant = uniform_loss(facts, loss.kind), constant_loss(facts, loss.kind)
    classes, excess, severe, option = 2, (limits.binary_excess - 1) * uniform, limits.binary_severe, "binary_excess"
    if loss.kind == "classification":
        classes, excess, severe = facts.classes, max(limits.excess * uniform, limits.floor), limits.severe
        option = "floor" if limits.floor > limits.excess * uniform else "excess"
    # Where one class is nearly all, its logit alone decides, and nothing averages out.
    margin = excess + limits.uneven * unevenness(facts)
    # The loss of a few targets scatters around its mean with one over the root of their number.
    margin *= max(1.0, math.sqrt(limits.few / max(1, int(loss.targets[0]))))
    return ExpectedStart(
        function=facts.function,
        classes=classes,
        weighted=not abs(uniform - math.log(classes)) < 1e-9,
        uniform=uniform,
        high=uniform + margin,
        severe=max(uniform * severe, uniform + margin),
        mild=limits.mild * uniform,
        # A bias initialised to the label frequencies starts at their entropy.
        low=limits.low * (uniform if math.isnan(constant) else min(uniform, constant)),
        option=option,
    )


def _regression(loss: TrainingLoss, facts: LossFacts, limits: Limits) -> OffScale | OnScale | NotApplicable | Skipped:
    variance = facts.target_variance
    if variance is None or not math.isfinite(variance):
        return Skipped(
            reason="the variance of the target was not recorded",
            enable="compute the loss with torch.nn.functional.mse_loss (nn.MSELoss uses it)",
        )
    if variance <= 0:
        return NotApplicable(reason="the regression target is constant")
    deviation, ratio = math.sqrt(variance), loss.first / variance
    if ratio <= limits.variance and deviation <= limits.spread:
        return OnScale(loss.first, ratio, deviation)
    kept = loss.last / loss.first if loss.first > 0 else math.nan
    outcome, stuck = bad_outcome(loss.training), not kept <= limits.learned  # also when the last loss is NaN
    return OffScale(
        loss=loss,
        cause=cause(loss, facts.target_mean or 0.0, deviation, limits.variance, limits.spread),
        variance=variance,
        ratio=ratio,
        kept=kept,
        stuck=stuck,
        outcome=outcome,
        harmed=(stuck or outcome is not None) and not learning_rate_gone(loss.training),
    )


def _weight(found: Mismatch) -> tuple[Severity, Confidence]:
    match found:
        case NegativeLikelihood():
            return Severity.CRITICAL, Confidence.CERTAIN
        case NotAveraged():
            # Adam and its kin divide the factor out again; it still matters to clipping and decay.
            harmed = Severity.CRITICAL if found.outcome else Severity.WARNING
            return Severity.NOTE if found.adaptive else harmed, Confidence.HIGH
        case Overconfident():
            usual = Severity.NOTE if found.mild else Severity.WARNING
            return Severity.CRITICAL if found.outcome and found.severe else usual, Confidence.HIGH
        case UnusedOutputs():
            return Severity.WARNING, Confidence.MEDIUM
        case BelowChance():
            return Severity.NOTE, Confidence.MEDIUM


@initial_loss_mismatch.tell
def _no_number(found: NoNumber) -> Skipped:
    return Skipped(reason=f"the first loss is {number(found.first)}", enable="fix what non_finite reports")


@initial_loss_mismatch.tell
def _unknown(found: UnknownStart) -> NotApplicable:
    return NotApplicable(reason=words.unknown_start(found.function, found.why))


@initial_loss_mismatch.tell
def _near(found: NearUniform) -> Clean:
    first, uniform = number(found.loss.first), words.uniform_in_words(found.expected)
    return Clean(measured=f"the first loss is {first}, that of a uniform prediction is {uniform}")


@initial_loss_mismatch.tell
def _on_scale(found: OnScale) -> Clean:
    times, deviation = f"{factor(found.ratio)} times the variance of the target", number(found.deviation)
    return Clean(measured=f"the first loss is {number(found.first)}, {times}, whose standard deviation is {deviation}")


@initial_loss_mismatch.tell
def _likelihood(found: Mismatch, limits: Limits) -> Finding:
    (severity, confidence), first = _weight(found), int(found.loss.steps[0])
    return Finding(
        severity=severity,
        confidence=confidence,
        title=words.title(found),
        headline=words.headline(found),
        explanation=words.explanation(found),
        span=Span(first=first, last=first),
        tensors=[found.layer.name] if found.layer is not None else [],
        evidence=[first_losses(found.loss, *words.reference(found))],
        actions=words.actions(found),
        measures=words.measures(found, limits.vocabulary, limits.soon),
    )


@initial_loss_mismatch.tell
def _off_scale(found: OffScale, limits: Limits) -> Finding:
    loss, cause, first = found.loss, found.cause, int(found.loss.steps[0])
    return Finding(
        severity=Severity.WARNING if found.harmed else Severity.NOTE,
        confidence=Confidence.HIGH if found.harmed else Confidence.MEDIUM,
        title=disease(cause),
        headline=beside_variance(loss, cause),
        explanation=explanation(loss, cause, found.kept if found.stuck else None, found.outcome),
        span=Span(first=first, last=first),
        evidence=[first_losses(loss, f"variance of the target = {number(found.variance)}", found.variance)],
        actions=advice(loss, cause),
        measures=[
            Measure(quantity="first loss / variance of the target", value=found.ratio, comparison=">",
                    threshold=limits.variance, option="variance", any_of="scale"),
            Measure(quantity="standard deviation of the target", value=cause.deviation, comparison=">",
                    threshold=limits.spread, option="spread", any_of="scale"),
            Measure(quantity="last loss / first loss", value=found.kept, comparison=">", threshold=limits.learned,
                    option="learned", decides="warning"),
        ],
    )  # fmt: skip
