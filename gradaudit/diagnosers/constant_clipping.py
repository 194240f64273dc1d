"""Gradient clipping acts at every step, and cuts far below the usual norm.

## What it looks for

The last half of the run. Clipping by norm that acts at more than `most` of the steps, with a median norm before
clipping above `times` the threshold, is a warning under SGD and its like, and a note under adaptive optimizers, which
normalise the size of the gradient. Under Adam it is a warning, too, where clipping takes the gradient of every weight
layer below the optimizer's eps, which then outweighs it. Clipping by value that acts at more than `most` of the steps
and leaves elements of at least `level` of the threshold on average (root mean square) is a note: most elements are then
cut to the same value. Where that makes the norm of the gradient `times` smaller, it is a warning under SGD and its
like, too.

## Why it matters

Clipping is meant for the rare step that is too large. When every step is clipped, the threshold replaces the size of
the gradient: under SGD the learning rate is in effect divided by the factor, and the steps no longer shrink as training
converges. Adam is not affected until the threshold is so small that its eps outweighs the gradient. Clipping by norm
keeps the direction; clipping by value also turns the step towards the signs of the gradient.

## What to try

Set the threshold at the 90th percentile of the norms before clipping, so that one step in ten is clipped, and under SGD
divide the learning rate by the factor at the same time: the steps would be as many times larger. Under Adam leave a
threshold that a recipe gives, unless the loss is known not to fall.

## When it is wrong

Clipped steps as such are healthy: of healthy runs that clip, 17 % clip more than half of their steps, by up to 3.3
times under SGD. Some recipes normalise the gradient on purpose with a large learning rate to match, and those of
reinforcement learning clip at 0.5, under Adam, however large the returns make the norm. With a GradScaler a norm taken
before `unscale_()` is that of the scaled gradient, and clipping it is a mistake of its own.
"""

import math
from collections.abc import Iterator

import msgspec

from gradaudit.chart_data import Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import norm_chart
from gradaudit.evidence.words.clipping import clip_norm
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.wording import factor, number, percent, plural, setting, times
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Skipped, Span
from gradaudit.signals.gradients.clipping import Clipping, clipping
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, median, quantile
from gradaudit.signals.updates.learning_rates import is_adaptive, optimizer_class, peak_rates
from gradaudit.signals.updates.ratios import last_half
from gradaudit.signals.updates.step_size import adam_eps, over_eps
from gradaudit.training import Training

_LEARNS = 0.2  # of the first loss: a training that lowers it by more is not hurt by its threshold


class Limits(msgspec.Struct, frozen=True):
    """How often clipping may act, and how much of the gradient it may take."""

    most: float = 0.9  # active clipping is healthy; 17 % of healthy runs that clip do so at half of their steps
    times: float = 5.0  # healthy SGD runs stay below 3.3, faulty ones start at 16
    level: float = 0.5  # not measured: a quarter of the elements at the threshold suffices for it


class NoClipping(Judged, frozen=True):
    """Nothing was clipped in the last half of a run of so many steps."""

    steps: int


class OrdinaryClipping(Judged, frozen=True):
    """It acts at few steps, or not far below the usual gradient."""

    cut: Clipping


class ConstantClipping(Judged, frozen=True):
    """Clipping acts at nearly every step and takes most of the gradient, or cuts most elements to the same size."""

    cut: Clipping
    threshold: float  # median over the steps
    usual: float  # median of the norm before clipping; of clipping by value, of the largest element after it
    usual_most: float  # 90th percentile of the same
    slower: bool  # the norm of the gradient is more than `times` smaller after it
    normalised: bool  # the optimizer divides out the size of the gradient, and its eps leaves it to
    below_eps: bool  # clipping is what takes every gradient below Adam's eps
    over_eps: float  # the largest gradient per element after clipping, over Adam's eps
    effective_rates: Floats  # [parameter groups] the greatest learning rate over what clipping by norm divides it by
    does_not_learn: bool  # the loss is known not to fall by much
    span: Span

    @property
    def harmful(self) -> bool:
        """Whether the optimizer takes smaller steps because of it."""
        return self.slower and not self.normalised


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps",),
    minimum_steps=50,
    explains=("learning_rate_too_low", "dead_embedding", "no_learning"),
)
def constant_clipping(
    training: Training, limits: Limits
) -> Iterator[ConstantClipping | OrdinaryClipping | NoClipping | Skipped]:
    """Judge the clipping over the last half of the run."""
    cut = clipping(training)
    if cut is None:
        yield NoClipping(len(training.steps))
    elif cut.partial:
        yield Skipped(
            reason="only some of the optimizer's tensors are clipped, and their norm alone is not recorded",
            enable="clip all parameters in one call",
        )
    elif cut.clipped > limits.most and cut.excess > (limits.times if cut.kind == "norm" else limits.level):
        yield _constant(training, cut, limits)
    else:
        yield OrdinaryClipping(cut)


def _constant(training: Training, cut: Clipping, limits: Limits) -> ConstantClipping:
    loss = training_loss(training)
    left = over_eps(training, last_half(training), clipped=True)
    below_eps = left < 1 <= over_eps(training, last_half(training), clipped=False)
    return ConstantClipping(
        cut=cut,
        threshold=median(cut.threshold),
        usual=median(cut.size),
        usual_most=float(quantile(cut.size.reshape(-1, 1), 0.9)[0]),
        slower=cut.divided > limits.times,
        normalised=is_adaptive(training) and not below_eps,
        below_eps=below_eps,
        over_eps=left,
        effective_rates=peak_rates(training) / cut.excess,
        does_not_learn=not loss.shapeless and not loss.improvement >= _LEARNS,
        span=Span(first=cut.since, last=int(cut.steps[-1])),
    )


@constant_clipping.tell
def _nothing(found: NoClipping) -> Clean:
    return Clean(measured=f"in the last half of the {plural(found.steps, 'step')} nothing was clipped")


@constant_clipping.tell
def _ordinary(found: OrdinaryClipping) -> Clean:
    cut = found.cut
    if not math.isfinite(cut.excess):
        return Clean(measured="no norm of a clipped gradient is known")
    how_much = f"{factor(cut.excess)} times" if cut.kind == "norm" else f"an RMS of {number(cut.excess)} of"
    return Clean(
        measured=f"in the last half {percent(cut.clipped)} of the steps are clipped by {cut.kind}, at a median of "
        f"{how_much} the threshold"
    )


@constant_clipping.tell
def _finding(found: ConstantClipping, training: Training, limits: Limits) -> Finding:
    cut, by_norm = found.cut, found.cut.kind == "norm"
    threshold = setting(found.threshold)
    title = "Gradients clipped below eps" if found.below_eps else "Constant gradient clipping"
    return Finding(
        severity=Severity.WARNING if found.harmful else Severity.NOTE,
        confidence=Confidence.HIGH if found.harmful else Confidence.MEDIUM,
        title=title if by_norm else "Constant clipping by value",
        headline=f"Clipping acts at {percent(cut.clipped)} of the steps: the median norm is {times(cut.excess)} times "
        "the threshold"
        if by_norm
        else f"Clipping by value acts at {percent(cut.clipped)} of the steps: the elements' RMS is "
        f"{percent(cut.excess)} of the threshold",
        explanation=_norm_explanation(found, training) if by_norm else _value_explanation(found, training),
        span=found.span,
        evidence=[
            norm_chart(
                training,
                "The norm before clipping against the threshold. A threshold that is meant for single steps lies above "
                "most of the line."
                if by_norm
                else f"The norm of the gradient. Its elements were cut at {threshold}.",
                [Mark(label=f"threshold {threshold}", y=found.threshold)] if by_norm else [],
            )
        ],
        actions=_norm_actions(found, training) if by_norm else _value_actions(found),
        measures=_measures(found, limits),
    )


def _norm_explanation(found: ConstantClipping, training: Training) -> str:
    cut, name = found.cut, optimizer_class(training)
    seen = (
        f"Over the last half the gradient norm before clipping is {number(found.usual)} (median), and the "
        f"threshold is {setting(found.threshold)}. Clipping by norm keeps the direction of the step. "
    )
    if found.normalised:
        return seen + (
            f"{name} normalises the size of the gradient, so the steps are nearly as large as without clipping."
        )
    if found.below_eps:
        return seen + (
            f"That takes every gradient below the eps of {name}, {setting(adam_eps(training))}, which then "
            f"outweighs it: {_largest_step(found)}."
        )
    return seen + (
        f"Under {name} this divides the learning rate of {rate_in_words(peak_rates(training))} by "
        f"{times(cut.excess)}, to {rate_in_words(found.effective_rates)}."
    )


def _value_explanation(found: ConstantClipping, training: Training) -> str:
    cut, name = found.cut, optimizer_class(training)
    seen = (
        f"Over the last half the elements of the clipped gradient have a root mean square of {number(cut.excess)} "
        f"of the threshold, {setting(found.threshold)}: most are cut to the same size. Clipping by value changes the "
        "direction of the step, here towards the signs of the gradient."
    )
    if found.harmful and found.below_eps:
        return seen + (
            f" Every gradient is then below the eps of {name}, {setting(adam_eps(training))}: {_largest_step(found)}."
        )
    if found.harmful:
        return seen + (
            f" Under {name} it also divides the learning rate of {rate_in_words(peak_rates(training))} by "
            f"{times(cut.divided)}: the norm of the gradient is as many times smaller after clipping."
        )
    return seen


def _largest_step(found: ConstantClipping) -> str:
    return f"a step is {number(found.over_eps / (1 + found.over_eps), 2)} of the learning rate at most"


def _norm_actions(found: ConstantClipping, training: Training) -> list[Action]:
    """A larger threshold, and what keeps the steps as large as they are now."""
    threshold = setting(found.threshold)
    larger = (
        f"Clip at {number(found.usual_most, 2)}, the 90th percentile of the norm before clipping, instead of "
        f"{threshold}"
    )
    unscale = Action(text="With a GradScaler, call unscale_ before clipping", code="scaler.unscale_(optimizer)")
    if found.normalised:
        leave = Action(
            text=f"Leave {threshold} if it comes from a recipe, as 0.5 does in PPO: {optimizer_class(training)} "
            "normalises the size anyway, and a rare large gradient still counts no more than the others"
        )
        # What does not show that training suffers is no reason to let a rare step through that is 50 times as large.
        return [leave, *([clip_norm(larger, found.usual_most)] if found.does_not_learn else []), unscale]
    if found.below_eps:
        return [
            clip_norm(larger, found.usual_most),
            Action(text="Or clip nothing: the steps of Adam hardly grow with the gradient"),
            unscale,
        ]
    now = rate_in_words(found.effective_rates)
    return [
        clip_norm(f"{larger}, and start from a learning rate of {now}: that was in effect up to now", found.usual_most),
        unscale,
    ]


def _value_actions(found: ConstantClipping) -> list[Action]:
    threshold = found.threshold
    return [
        clip_norm("Clip the norm instead, which keeps the direction"),
        Action(text=f"Or raise the threshold tenfold, from {setting(threshold)} to {setting(10 * threshold)}"),
    ]


def _measures(found: ConstantClipping, limits: Limits) -> list[Measure]:
    cut = found.cut
    how_much = [
        Measure(quantity="median norm / threshold", value=cut.excess, comparison=">", threshold=limits.times,
                option="times"),
    ] if cut.kind == "norm" else [
        Measure(quantity="RMS of the elements / threshold", value=cut.excess, comparison=">", threshold=limits.level,
                option="level"),
        Measure(quantity="norm before clipping / after", value=cut.divided, comparison=">", threshold=limits.times,
                option="times", decides="warning"),
    ]  # fmt: skip
    return [
        Measure(quantity="steps clipped, last half", value=cut.clipped, comparison=">", threshold=limits.most,
                unit="fraction", option="most"),
        *how_much,
        *([Measure(quantity="largest gradient per element after clipping / eps", value=found.over_eps, comparison="<",
                   threshold=1, decides="warning")] if found.below_eps else []),
    ]  # fmt: skip
