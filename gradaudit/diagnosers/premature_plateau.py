"""The loss stops falling far above zero: the gradient vanishes at once, or the learning rate decayed too early.

## What it looks for

The plateau on which the run ends: from its start on the smoothed training loss stays within `flat` of its last level,
as shares of the first loss. It is a note when the plateau begins before `early` of the run is over, the loss is still
above `left`, it had fallen by more than `fell` over the second half of the steps before, so that it was still going
down, and the median gradient norm of the last fifth of the run is below `faded` of that of those steps.

It is a warning when the largest learning rate decays for good to `spent` of its peak or less before `early` of the run
is over, the loss falls by less than `flat` over the steps since then, is still above `left`, and had not converged:
over the second half of the learning rate, summed over the steps, it fell by `unfinished` or more, or it had gained less
than that in all, and 30 % or more of it over that half, by more than twice the noise of the batches. Or it had gained
less than that in all, the learning rates of all steps add up to less than a tenth of as many steps at the peak, and
most parameters start as torch.nn initialises them: training had hardly begun. Where the learning rate of a group is not
known at every step, there is no such warning.

## Why it matters

A loss that has reached what the data allow slows down gradually, and the gradients of its batches keep their size,
since they still differ from batch to batch. A loss that stops abruptly, with the gradient near zero, is stuck: units
have died or saturated, or the surface is flat there. The steps since then were for nothing. A loss whose learning rate
decayed too early is not stuck: it would go on falling.

## What to try

Where another finding, of dead or saturated units, stands above this one, fix that first. Then another seed: where a
model gets stuck depends on its initialisation. A wider model gets stuck less often. A third of the learning rate at the
step before, momentum, or a warmup may help, too. Where the learning rate decayed too early, use a schedule as long as
the run.

## When it is wrong

Training on the whole data at once has no noise, so its gradient shrinks wherever it converges; a healthy one that
converges abruptly looks the same. How often that is has not been measured, so a small gradient is only ever a note. A
learning rate that was lowered because the loss had converged is not reported.
"""

import math
from collections.abc import Iterator

import msgspec

from gradaudit.chart_data import Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart, norm_chart, rate_chart
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.schedules import fall_in_words, falling_until
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, number, percent
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.loss.plateaus import LEAST_STEPS, EarlyDecay, Plateau, hardly_begun, plateau, stopped_by_decay
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.updates.learning_rates import peak_rates
from gradaudit.training import Training


class Limits(msgspec.Struct, frozen=True):
    """From where on a loss stops too early, and too high."""

    flat: float = 0.02  # of the first loss: no progress, as elsewhere
    early: float = 0.6  # a plateau over less than 40 % of a run may be the end of its schedule
    left: float = 0.3  # of the first loss; below it a model has learned most of what it will
    fell: float = 0.2  # of the first loss; an exponential approach has slowed to 0.1 by then, whatever its rate
    spent: float = 0.01  # of the peak; healthy schedules get there in the last tenth of a run
    unfinished: float = 0.1  # of the first loss; an exponential approach near its floor falls by less
    faded: float = 0.1  # AutoTrainer's and gradsnitch's limits of a collapse are 0.05 and below; noise keeps it near 1


class AbruptPlateau(Judged, frozen=True):
    """The loss stops falling abruptly, and the gradient is near zero from there on."""

    plateau: Plateau
    step: int  # global, at which it begins
    share: float  # of the run that was over by then
    last: float  # mean loss of the last tenth of the run
    decayed: bool  # the learning rate had decayed to less than half of its peak by then
    rates: Floats  # [groups] peak learning rates
    lower: Floats  # [groups] a third of them
    enough: int  # global step, a quarter of the plateau in: nothing comes after
    span: Span


class PlateauAfterDecay(Judged, frozen=True):
    """The learning rate decayed for good while the loss was still falling."""

    decay: EarlyDecay
    step: int  # global, at which it has decayed
    share: float  # of the run that was over by then
    steps: int  # of the run
    last: float  # mean loss of the last tenth of the run
    gained_little: bool  # in all, and it was still falling by much of that
    rates: Floats  # [groups] peak learning rates
    span: Span


class GradualPlateau(Judged, frozen=True):
    """The loss is flat at the end, and neither stops abruptly nor loses its gradient there."""

    plateau: Plateau
    step: int  # global, at which it begins


class NoPlateau(Judged, frozen=True):
    """The loss does not end on a plateau, or never fell."""

    first: float
    last: float  # mean loss of the last tenth of the run


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps.gradient_norm",),
    minimum_steps=LEAST_STEPS,
)
def premature_plateau(
    training: Training, limits: Limits
) -> Iterator[AbruptPlateau | PlateauAfterDecay | GradualPlateau | NoPlateau | NotApplicable | Skipped]:
    """Look for a loss that stops abruptly, with the gradient near zero or the learning rate decayed."""
    loss = training_loss(training)
    if loss.shapeless:
        yield NotApplicable(reason=unclear_in_words(loss.shapeless))
    elif not math.isfinite(loss.first) or non_finite_onset(training) is not None:
        yield Skipped(reason="the loss is not finite at every step", enable="fix what non_finite reports")
    elif (decay := stopped_by_decay(training)) is not None:
        yield _plateau_after_decay(loss, decay, limits)
    elif (found := plateau(training, limits.flat)) is None or diverges(training) is not None:
        yield NoPlateau(loss.first, loss.last)
    elif _is_abrupt(loss, found, limits):
        yield _abrupt_plateau(loss, found)
    else:
        yield GradualPlateau(found, int(loss.steps[found.start]))


def _plateau_after_decay(loss: TrainingLoss, decay: EarlyDecay, limits: Limits) -> PlateauAfterDecay:
    step, steps = int(loss.steps[decay.start]), len(loss.values)
    return PlateauAfterDecay(
        decay=decay,
        step=step,
        share=decay.start / steps,
        steps=steps,
        last=loss.last,
        gained_little=decay.fell < limits.unfinished and not hardly_begun(decay, limits.unfinished),
        rates=peak_rates(loss.training),
        span=Span(first=step, last=int(loss.steps[-1])),
    )


def _is_abrupt(loss: TrainingLoss, found: Plateau, limits: Limits) -> bool:
    sudden = found.fell > limits.fell and found.level > limits.left and found.start < limits.early * len(loss.values)
    return sudden and found.gradient < limits.faded


def _abrupt_plateau(loss: TrainingLoss, found: Plateau) -> AbruptPlateau:
    step, last, rates = int(loss.steps[found.start]), int(loss.steps[-1]), peak_rates(loss.training)
    return AbruptPlateau(
        plateau=found,
        step=step,
        share=found.start / len(loss.values),
        last=loss.last,
        decayed=found.rate < 0.5,
        rates=rates,
        lower=rates / 3,
        enough=step + (last - step) // 4,
        span=Span(first=step, last=last),
    )


@premature_plateau.tell
def _none(found: NoPlateau) -> Clean:
    return Clean(
        measured=f"the loss goes from {number(found.first)} to {number(found.last)}, and does not stop on a plateau "
        "after a fall"
    )


@premature_plateau.tell
def _gradual(found: GradualPlateau) -> Clean:
    level, fell, gradient = found.plateau.level, found.plateau.fell, found.plateau.gradient
    measured = (
        f"the loss is flat from step {count(found.step)} on at {percent(level)} of its first value, but does not stop "
        f"abruptly: over the steps before it {'fell' if fell >= 0 else 'rose'} by {percent(abs(fell))} of its first "
        "value"
    )
    if math.isfinite(gradient):
        measured += f", and the gradient norm ends at {factor(gradient)} times what it was then"
    return Clean(measured=measured)


@premature_plateau.tell
def _abrupt(found: AbruptPlateau, training: Training, limits: Limits) -> Finding:
    step, mark = count(found.step), [Mark(label=f"step {count(found.step)}", x=found.step)]
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title=f"Loss plateau since step {step}",
        headline=f"The loss stops falling at step {step}, at {number(found.last)}, and the gradient norm drops to "
        f"{percent(found.plateau.gradient)}",
        explanation=_explanation(found),
        span=found.span,
        evidence=[
            loss_chart(training, "The training loss: it stops abruptly at the mark.", mark),
            norm_chart(training, "The gradient norm of the same steps. After normal convergence the noise of the "
                       "batches keeps it up.", mark),
        ],
        actions=[
            Action(text="Train with 3 other seeds: where a model gets stuck depends on its initialisation",
                   code="torch.manual_seed(1)"),
            Action(text=f"Keep the learning rate up until the loss is flat: it fell before step {step}"
                   if found.decayed else f"Lower the learning rate from {rate_in_words(found.rates)} to "
                   f"{rate_in_words(found.lower)}: a large step may have led there"),
            Action(text=f"End such a run at step {count(found.enough)}: nothing came after"),
        ],
        measures=[
            Measure(quantity="start of the plateau, share of the run", value=found.share, comparison="<",
                    threshold=limits.early, unit="fraction", option="early"),
            Measure(quantity="loss on it / first loss", value=found.plateau.level, comparison=">",
                    threshold=limits.left, option="left"),
            Measure(quantity="fall over the steps before, of the first loss", value=found.plateau.fell, comparison=">",
                    threshold=limits.fell, unit="fraction", option="fell"),
            Measure(quantity="gradient norm on it / before", value=found.plateau.gradient, comparison="<",
                    threshold=limits.faded, option="faded"),
        ],
    )  # fmt: skip


def _explanation(found: AbruptPlateau) -> str:
    sentences = [
        f"Up to step {count(found.step)} the loss was falling: by {percent(found.plateau.fell)} of its first value "
        f"over the second half of those steps. From there on it stays at {number(found.last)}, "
        f"{percent(found.plateau.level)} of its first value, for the remaining {percent(1 - found.share)} of the run.",
        f"The gradient norm drops to {percent(found.plateau.gradient)} of what it was before.",
    ]
    if found.decayed:
        sentences.append(f"The learning rate had decayed to {percent(found.plateau.rate)} of its peak by then.")
    return " ".join(sentences)


@premature_plateau.tell
def _after_decay(found: PlateauAfterDecay, training: Training, limits: Limits) -> Finding:
    step, spent = count(found.step), percent(limits.spent)
    mark = [Mark(label=f"step {step}", x=found.step)]
    # The same words as in learning_rate_schedule: both may stand on one page.
    fall = fall_in_words(training, found.decay)
    if found.gained_little:
        fall += f" In all it has fallen by {percent(max(0.0, found.decay.gained))} of its first value."
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Loss plateau after learning rate decay",
        headline=f"The learning rate is at {spent} of its peak or less from step {step} on, and the loss stays at "
        f"{number(found.last)}",
        explanation=f"From step {step} on, for {percent(1 - found.share)} of the run, the learning rate is at {spent} "
        f"of its peak of {rate_in_words(found.rates)} or less. {fall}",
        span=found.span,
        evidence=[
            loss_chart(training, "The training loss: it stops where the learning rate has decayed.", mark),
            rate_chart(training, mark),
        ],
        actions=[
            Action(text=f"Stretch the schedule over {count(found.steps)} steps, the length of the run, when stepped "
                   "once a batch",
                   code=f"torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max={found.steps})"),
            Action(text="If its numbers are meant as epochs, call scheduler.step() once an epoch"),
            Action(text=f"End such a run at step {step}: nothing came after"),
        ],
        measures=[
            Measure(quantity="share of the run when the learning rate has decayed", value=found.share, comparison="<",
                    threshold=limits.early, unit="fraction", option="early"),
            Measure(quantity="loss since / first loss", value=found.decay.level, comparison=">",
                    threshold=limits.left, option="left"),
            *falling_until(found.decay, limits.unfinished, "unfinished"),
            Measure(quantity="fall since, of the first loss", value=found.decay.after, comparison="<",
                    threshold=limits.flat, unit="fraction", option="flat"),
        ],
    )  # fmt: skip
