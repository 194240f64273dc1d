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

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart, norm_chart, rate_chart
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.schedules import fall_in_words, falling_until
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, number, percent
from gradaudit.findings import (
    Action,
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
)
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.loss.plateaus import LEAST_STEPS, EarlyDecay, Plateau, hardly_begun, plateau, stopped_by_decay
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.updates.learning_rates import peak_rates
from gradaudit.training import Training


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps.gradient_norm",),
    minimum_steps=LEAST_STEPS,
)
def premature_plateau(
    training: Training,
    *,
    flat: float = 0.02,  # of the first loss: no progress, as elsewhere
    early: float = 0.6,  # a plateau over less than 40 % of a run may be the end of its schedule
    left: float = 0.3,  # of the first loss; below it a model has learned most of what it will
    fell: float = 0.2,  # of the first loss; an exponential approach has slowed to 0.1 by then, whatever its rate
    spent: float = 0.01,  # of the peak; healthy schedules get there in the last tenth of a run
    unfinished: float = 0.1,  # of the first loss; an exponential approach near its floor falls by less
    faded: float = 0.1,  # AutoTrainer's and gradsnitch's limits of a collapse are 0.05 and below; noise keeps it near 1
) -> Iterator[Verdict]:
    """Look for a loss that stops abruptly, with the gradient near zero or the learning rate decayed."""
    loss = training_loss(training)
    if loss.shapeless:
        yield NotApplicable(reason=unclear_in_words(loss.shapeless))
        return
    if not math.isfinite(loss.first) or non_finite_onset(training) is not None:
        yield Skipped(reason="the loss is not finite at every step", enable="fix what non_finite reports")
        return
    limits = {"early": early, "left": left, "spent": spent, "unfinished": unfinished, "flat": flat}
    decayed = stopped_by_decay(training, **limits)
    if decayed is not None:
        yield _decayed_too_early(training, loss, decayed, limits)
        return
    found = plateau(training, flat)
    if found is None or diverges(training) is not None:
        yield Clean(
            measured=f"the loss goes from {number(loss.first)} to {number(loss.last)}, and does not stop on a "
            f"plateau after a fall"
        )
        return
    sudden = found.fell > fell and found.level > left and found.start < early * len(loss.values)
    if not sudden or not found.gradient < faded:
        yield Clean(
            measured=f"the loss is flat from step {count(loss.steps[found.start])} on at {percent(found.level)} of "
            f"its first value, but does not stop abruptly: over the steps before it {_moved(found.fell)}"
            + (
                f", and the gradient norm ends at {factor(found.gradient)} times what it was then"
                if math.isfinite(found.gradient)
                else ""
            )
        )
        return
    yield _stuck(training, loss, found, {"early": early, "left": left, "fell": fell, "faded": faded})


def _moved(fell: float) -> str:
    """What the loss did before it was flat, after "it"."""
    return f"{'fell' if fell >= 0 else 'rose'} by {percent(abs(fell))} of its first value"


def _stuck(training: Training, loss: TrainingLoss, found: Plateau, thresholds: dict[str, float]) -> Finding:
    at, last = int(loss.steps[found.start]), int(loss.steps[-1])
    share = found.start / len(loss.values)
    rates = peak_rates(training)
    mark = [Mark(label=f"step {count(at)}", x=at)]
    decayed = found.rate < 0.5
    seen = [
        f"Up to step {count(at)} the loss was falling: by {percent(found.fell)} of its first value over the second "
        f"half of those steps. From there on it stays at {number(loss.last)}, {percent(found.level)} of its first "
        f"value, for the remaining {percent(1 - share)} of the run.",
        f"The gradient norm drops to {percent(found.gradient)} of what it was before.",
    ]
    if decayed:
        seen.append(f"The learning rate had decayed to {percent(found.rate)} of its peak by then.")
    slower = Action(
        text=f"Lower the learning rate from {rate_in_words(rates)} to {rate_in_words(rates / 3)}: a large step may "
        "have led there"
    )
    later = Action(text=f"Keep the learning rate up until the loss is flat: it fell before step {count(at)}")
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.MEDIUM,
        title=f"Loss plateau since step {count(at)}",
        headline=f"The loss stops falling at step {count(at)}, at {number(loss.last)}, and the gradient norm drops to "
        f"{percent(found.gradient)}",
        explanation=" ".join(seen),
        span=Span(first=at, last=last),
        evidence=[
            loss_chart(training, "The training loss: it stops abruptly at the mark.", mark),
            norm_chart(training, "The gradient norm of the same steps. After normal convergence the noise of the "
                       "batches keeps it up.", mark),
        ],
        actions=[
            Action(text="Train with 3 other seeds: where a model gets stuck depends on its initialisation",
                   code="torch.manual_seed(1)"),
            later if decayed else slower,
            Action(text=f"End such a run at step {count(at + (last - at) // 4)}: nothing came after"),
        ],
        measures=[
            Measure(quantity="start of the plateau, share of the run", value=share, comparison="<",
                    threshold=thresholds['early'], unit="fraction", option="early"),
            Measure(quantity="loss on it / first loss", value=found.level, comparison=">",
                    threshold=thresholds['left'], option="left"),
            Measure(quantity="fall over the steps before, of the first loss", value=found.fell, comparison=">",
                    threshold=thresholds['fell'], unit="fraction", option="fell"),
            Measure(quantity="gradient norm on it / before", value=found.gradient, comparison="<",
                    threshold=thresholds['faded'], option="faded"),
        ],
    )  # fmt: skip


def _decayed_too_early(
    training: Training, loss: TrainingLoss, decayed: EarlyDecay, thresholds: dict[str, float]
) -> Finding:
    at, share = int(loss.steps[decayed.start]), decayed.start / len(loss.values)
    rates = peak_rates(training)
    mark = [Mark(label=f"step {count(at)}", x=at)]
    # The same words as in learning_rate_schedule: both may stand on one page.
    fall = fall_in_words(training, decayed, thresholds["unfinished"])
    if decayed.fell < thresholds["unfinished"] and not hardly_begun(decayed, thresholds["unfinished"]):
        fall += f" In all it has fallen by {percent(max(0.0, decayed.gained))} of its first value."
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Loss plateau after learning rate decay",
        headline=f"The learning rate is at {percent(thresholds['spent'])} of its peak or less from step {count(at)} "
        f"on, and the loss stays at {number(loss.last)}",
        explanation=f"From step {count(at)} on, for {percent(1 - share)} of the run, the learning rate is at "
        f"{percent(thresholds['spent'])} of its peak of {rate_in_words(rates)} or less. {fall}",
        span=Span(first=at, last=int(loss.steps[-1])),
        evidence=[
            loss_chart(training, "The training loss: it stops where the learning rate has decayed.", mark),
            rate_chart(training, mark),
        ],
        actions=[
            Action(text=f"Stretch the schedule over {count(len(loss.values))} steps, the length of the run, when "
                   "stepped once a batch",
                   code=f"torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max={len(loss.values)})"),
            Action(text="If its numbers are meant as epochs, call scheduler.step() once an epoch"),
            Action(text=f"End such a run at step {count(at)}: nothing came after"),
        ],
        measures=[
            Measure(quantity="share of the run when the learning rate has decayed", value=share, comparison="<",
                    threshold=thresholds['early'], unit="fraction", option="early"),
            Measure(quantity="loss since / first loss", value=decayed.level, comparison=">",
                    threshold=thresholds['left'], option="left"),
            *falling_until(decayed, thresholds["unfinished"], "unfinished"),
            Measure(quantity="fall since, of the first loss", value=decayed.after, comparison="<",
                    threshold=thresholds['flat'], unit="fraction", option="flat"),
        ],
    )  # fmt: skip
