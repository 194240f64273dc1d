"""The gradient keeps growing while the loss does not improve.

## What it looks for

The norm of the whole gradient before clipping, over the optimizer's own parameters. Its median in the last fifth of the
run at `growth` times that of the second fifth or more, a rank correlation with the step of at least `trend` over the
last three quarters, and a loss that falls by less than `gain` of its first value between the two: then it is a warning.
Where the loss says nothing about progress (adversarial, contrastive, policy gradients, targets that move, one term of
several, unknown ones), a growth of `unjudged` times from the first fifth to the last is a note, and of targets that
grow that of so many times theirs. It is a warning when an unknown objective that is never negative, of the only
optimizer, ends above `worse` times its start, too, and no tenth of the run was below 0.9 of it.

## Why it matters

In a training that converges, gradients shrink or stay. When they grow without progress the run is leaving a good
region: weights or activations grow, a normalised layer shrinks, or the data changed. Divergence often follows.

## What to try

Lower the learning rate or let it decay; where the schedule raises it, cap it. The heatmap of gradients shows which
layers grow. With normalised layers and weight decay, lower the decay: shrinking weights make the gradient grow. Clip at
the 90th percentile of the norm.

## When it is wrong

Norms grow 2 to 6 times in 14 % of healthy runs while features form; there the loss falls, and it is not reported. The
loss of a temporal difference grows with the returns of a healthy agent, which is a note once it had fallen. Where the
loss diverged before the second fifth, growing gradients are its consequence, and `divergence` reports it.
"""

from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart, norm_chart
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.schedules import hold
from gradaudit.evidence.words.wording import count, factor, literal, names, number, setting, times
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    CouldNotLook,
    Finding,
    Mark,
    Measure,
    Severity,
    Span,
    Verdict,
    ratio,
)
from gradaudit.reading.run import Run
from gradaudit.signals.loss.moving_target import target_growth
from gradaudit.signals.loss.progress import SMOOTH, TENTHS
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, median, quantile, rank_correlation
from gradaudit.signals.updates.learning_rates import peak_rates
from gradaudit.signals.updates.rising_rate import rising_rate
from gradaudit.signals.updates.weight_growth import weight_decays
from gradaudit.training import Training

_FELL = (
    0.9  # of its first steps: an objective that was lower has learned, and TD losses of healthy agents rise after it
)


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps.gradient_norm",),
    minimum_steps=100,
    explains=("divergence", "non_finite", "loss_spike", "unstable_loss"),
)
def gradient_growth(
    training: Training,
    *,
    growth: float = 2.5,  # norms grow 2 to 6 times in healthy runs, but then the loss falls
    trend: float = 0.5,  # Spearman's: a steady growth and not one burst
    gain: float = 0.01,  # of the first loss; less is within the noise of a fifth of a run
    unjudged: float = 10.0,  # a critic's gradient grew 9 times in healthy adversarial runs
    worse: float = 2.0,  # times the start, as in `divergence`; healthy unknown losses end below theirs
) -> Iterator[Verdict]:
    """Compare the gradient norm and the loss of the last fifth with those of the second."""
    frame = training.steps
    norms = frame["gradient_norm"].to_numpy(dtype=float)
    usable = numpy.isfinite(norms) & (norms > 0) & ~frame["skipped"].fillna(False).to_numpy(dtype=bool)
    norms = numpy.where(usable, norms, numpy.nan)
    loss = training_loss(training)
    fifth = len(norms) // 5
    first, second, last = (median(norms[a : a + fifth]) for a in (0, fifth, len(norms) - fifth))
    base = first if loss.shapeless else second
    steps = frame["global_step"].to_numpy()
    diverged = diverges(training)
    if diverged is not None and diverged < steps[fifth]:
        yield Clean(measured=f"the loss diverges at step {count(diverged)}, before a slow growth could be seen")
        return
    if not (base > 0 and last > 0):
        yield CouldNotLook(
            reason="for a fifth of the run the norm of the gradient was not recorded",
            enable="record more often: --every 1",
        )
        return
    grown, correlation = last / base, rank_correlation(norms[len(norms) // 4 :])
    before = median(loss.values[fifth : 2 * fifth])
    after = median(loss.values[len(norms) - fifth :])
    better = before - after >= gain * abs(loss.first)
    # Errors grow with what is to be predicted, and gradients with the errors.
    limit = unjudged * target_growth(loss.facts) if loss.shapeless else growth
    if (
        grown < limit
        or not correlation >= trend
        or (not loss.shapeless and not before - after < gain * abs(loss.first))
    ):
        yield Clean(
            measured=f"in the last fifth of the run the gradient norm is {factor(grown)} times that of the "
            f"{'first' if loss.shapeless else 'second'} fifth"
            + (f", and the loss falls from {number(before)} to {number(after)}" if better else "")
        )
        return
    start, end = median(loss.objective[:fifth]), median(loss.objective[len(norms) - fifth :])
    alone = len(training.run.trainings) == 1 and bool((loss.objective >= 0).all())
    lowest = _lowest(loss.objective)
    # Of a loss that is known it is known, too, that it may rise: its targets move, or other terms are in it.
    rises = loss.kind == "unknown" and alone and end > worse * start and lowest >= _FELL
    rates = peak_rates(training)
    high = float(quantile(norms.reshape(-1, 1), 0.9)[0])
    rise = rising_rate(training)
    decay = float(weight_decays(training).max(initial=0.0))
    layers = _fastest(training, grown)
    yield Finding(
        severity=Severity.NOTE if loss.shapeless and not rises else Severity.WARNING,
        confidence=Confidence.MEDIUM,
        title="Rising loss and gradient norm" if rises else "Growing gradient norm",
        headline=f"The gradient norm grows {times(grown)} times, from {number(base)} to {number(last)}"
        + (", and the objective rises with it" if rises else "")
        + ("" if loss.shapeless else ", and the loss does not improve"),
        seen=f"The median norm is {number(base)} in the {'first' if loss.shapeless else 'second'} fifth of the run "
        f"and {number(last)} in the last. "
        + (
            f"The loss does not tell whether the model improves: {loss.shapeless}."
            + (f" The objective goes from {number(start)} to {number(end)}." if rises else "")
            if loss.shapeless
            else f"The loss goes from {number(before)} to {number(after)} meanwhile."
        )
        + (f" It grows most in {names(layers)}." if layers else ""),
        span=Span(first=int(steps[0 if loss.shapeless else fifth]), last=int(steps[-1])),
        tensors=layers,
        evidence=[
            norm_chart(
                training,
                "The norm of the whole gradient before clipping. In a training that converges it falls or stays.",
                [Mark(label="before", y=base, role="reference")],
            ),
            loss_chart(training, "The training loss over the same steps.", []),
        ],
        actions=[
            hold(training, rise) if rise is not None else
            Action(text=f"Divide the learning rate ({rate_in_words(rates)}) by 3, or let it decay"),
            Action(text=f"Clip at {number(high, 2)}, the 90th percentile of the norm",
                   code=f"torch.nn.utils.clip_grad_norm_(model.parameters(), {literal(high)})"),
            *([Action(text=f"Lower the weight decay of {setting(decay)}: normalised weights that shrink make their "
                   "gradient grow")] if decay > 0 and _normalised(training.run) else []),
        ],
        measures=[
            Measure(quantity="gradient norm, last fifth / base", value=grown, comparison=">=", threshold=limit,
                    option="unjudged" if loss.shapeless else "growth"),
            Measure(quantity="rank correlation of norm and step", value=correlation, comparison=">=",
                    threshold=trend, option="trend"),
            *([] if loss.shapeless else [
                ratio(("fall of the loss", before - after), ("first loss", abs(loss.first)), "<", gain,
                      option="gain")]),
            *([] if not rises else [
                ratio(("objective, last fifth", end), ("first fifth", start), ">", worse, option="worse",
                      decides="warning"),
                Measure(quantity="objective, lowest tenth / first steps", value=lowest, comparison=">=",
                        threshold=_FELL, decides="warning")]),
        ],
    )  # fmt: skip


def _lowest(objective: Floats) -> float:
    """The lowest tenth of the objective over its first steps, by their medians; infinite where those are 0."""
    first = median(objective[:SMOOTH])
    lowest = min(median(tenth) for tenth in numpy.array_split(objective, TENTHS))
    return lowest / first if first > 0 else numpy.inf


def _normalised(run: Run) -> bool:
    """Whether the model has a normalisation layer."""
    return any(module.batch_norm or "Norm" in module.module_class for module in run.meta.modules)


def _fastest(training: Training, grown: float) -> list[str]:
    """The weights, at most three, whose gradient grew most from the second fifth to the last, and not much less."""
    matrix = training.matrix("gradient_norm")
    fifth = len(training.recorded_global_steps) // 5
    if not fifth:
        return []
    early, late = quantile(matrix[fifth : 2 * fifth], 0.5), quantile(matrix[-fifth:], 0.5)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        times = numpy.where(early > 0, late / early, numpy.nan)
    tensors = training.tensors
    order = [
        i
        for i in numpy.argsort(-numpy.nan_to_num(times))
        if tensors[i].role == "weight" and times[i] > max(1, grown / 2)
    ]
    return [tensors[i].name for i in order[:3]]
