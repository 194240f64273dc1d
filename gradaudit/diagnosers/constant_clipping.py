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

from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import norm_chart
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.wording import factor, literal, number, percent, plural, setting
from gradaudit.evidence.words.wording import times as times_in_words
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Mark,
    Measure,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.signals.gradients.clipping import Clipping, clipping
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import median, quantile
from gradaudit.signals.updates.learning_rates import is_adaptive, optimizer_class, peak_rates
from gradaudit.signals.updates.ratios import last_half
from gradaudit.signals.updates.step_size import adam_eps, over_eps
from gradaudit.training import Training

_LEARNS = 0.2  # of the first loss: a training that lowers it by more is not hurt by its threshold


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps",),
    minimum_steps=50,
    explains=("learning_rate_too_low", "dead_embedding", "no_learning"),
)
def constant_clipping(
    training: Training,
    *,
    most: float = 0.9,  # active clipping is healthy; 17 % of healthy runs that clip do so at half of their steps
    times: float = 5.0,  # healthy SGD runs stay below 3.3, faulty ones start at 16
    level: float = 0.5,  # not measured: a quarter of the elements at the threshold suffices for it
) -> Iterator[Verdict]:
    """Judge the clipping over the last half of the run."""
    cut = clipping(training)
    if cut is None:
        steps = plural(len(training.steps), "step")
        yield Clean(measured=f"in the last half of the {steps} nothing was clipped")
        return
    if cut.partial:
        yield Skipped(
            reason="only some of the optimizer's tensors are clipped, and their norm alone is not recorded",
            enable="clip all parameters in one call",
        )
        return
    limit = times if cut.kind == "norm" else level
    if cut.clipped > most and cut.excess > limit:
        yield _finding(training, cut, most, limit, times)
    else:
        what = f"{factor(cut.excess)} times the threshold" if cut.kind == "norm" else (
            f"an RMS of {number(cut.excess)} of the threshold"
        )  # fmt: skip
        yield Clean(
            measured=f"in the last half {percent(cut.clipped)} of the steps are clipped by {cut.kind}, at "
            "a median of "
            f"{what}"
            if numpy.isfinite(cut.excess)
            else "no norm of a clipped gradient is known"
        )


def _finding(training: Training, cut: Clipping, most: float, limit: float, times: float) -> Finding:
    slower = cut.divided > times
    by_norm = cut.kind == "norm"
    left = over_eps(training, last_half(training), clipped=True)
    below_eps = left < 1 <= over_eps(training, last_half(training), clipped=False)
    free = is_adaptive(training) and not below_eps
    threshold = median(cut.threshold)
    rates = peak_rates(training)
    name = optimizer_class(training)
    if by_norm:
        title = "Gradients clipped below eps" if below_eps else "Constant gradient clipping"
        headline = (
            f"Clipping acts at {percent(cut.clipped)} of the steps: the median norm is "
            f"{times_in_words(cut.excess)} times the threshold"
        )
        seen = [
            f"Over the last half the gradient norm before clipping is {number(median(cut.size))} (median), and the "
            f"threshold is {setting(threshold)}. Clipping by norm keeps the direction of the step."
        ]
        seen.append(
            f"{name} normalises the size of the gradient, so the steps are nearly as large as without clipping."
            if free
            else f"That takes every gradient below the eps of {name}, {setting(adam_eps(training))}, which then "
            f"outweighs it: a step is {number(left / (1 + left), 2)} of the learning rate at most."
            if below_eps
            else f"Under {name} this divides the learning rate of {rate_in_words(rates)} by "
            f"{times_in_words(cut.excess)}, to {rate_in_words(rates / cut.excess)}."
        )
        actions = _by_norm(training, cut, free, below_eps)
    else:
        title = "Constant clipping by value"
        headline = (
            f"Clipping by value acts at {percent(cut.clipped)} of the steps: the elements' RMS is "
            f"{percent(cut.excess)} of the threshold"
        )
        seen = [
            f"Over the last half the elements of the clipped gradient have a root mean square of {number(cut.excess)} "
            f"of the threshold, {setting(threshold)}: most are cut to the same size. Clipping by value changes the "
            "direction of the step, here towards the signs of the gradient."
        ]
        if slower and below_eps:
            seen.append(
                f"Every gradient is then below the eps of {name}, {setting(adam_eps(training))}: a step is "
                f"{number(left / (1 + left), 2)} of the learning rate at most."
            )
        elif slower and not free:
            seen.append(
                f"Under {name} it also divides the learning rate of {rate_in_words(rates)} by "
                f"{times_in_words(cut.divided)}: the norm of the gradient is as many times smaller after clipping."
            )
        actions = [
            Action(
                text="Clip the norm instead, which keeps the direction",
                code="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            ),
            Action(text=f"Or raise the threshold tenfold, from {setting(threshold)} to {setting(10 * threshold)}"),
        ]
    return Finding(
        severity=Severity.WARNING if slower and not free else Severity.NOTE,
        confidence=Confidence.HIGH if slower and not free else Confidence.MEDIUM,
        title=title,
        headline=headline,
        explanation=" ".join(seen),
        span=Span(first=cut.since, last=int(cut.steps[-1])),
        evidence=[
            norm_chart(
                training,
                "The norm before clipping against the threshold. A threshold that is meant for single steps lies above "
                "most of the line."
                if by_norm
                else f"The norm of the gradient. Its elements were cut at {setting(threshold)}.",
                [Mark(label=f"threshold {setting(threshold)}", y=threshold)] if by_norm else [],
            )
        ],
        actions=actions,
        measures=[
            Measure(quantity="steps clipped, last half", value=cut.clipped, comparison=">", threshold=most,
                    unit="fraction", option="most"),
            Measure(quantity="median norm / threshold" if by_norm else "RMS of the elements / threshold",
                    value=cut.excess, comparison=">", threshold=limit, option="times" if by_norm else "level"),
            *([] if by_norm else [
                Measure(quantity="norm before clipping / after", value=cut.divided, comparison=">", threshold=times,
                        option="times", decides="warning")]),
            *([] if not below_eps else [
                Measure(quantity="largest gradient per element after clipping / eps", value=left, comparison="<",
                        threshold=1, decides="warning")]),
        ],
    )  # fmt: skip


def _by_norm(training: Training, cut: Clipping, free: bool, below_eps: bool) -> list[Action]:
    """A larger threshold, and what keeps the steps as large as they are now."""
    loss = training_loss(training)
    high, threshold = float(quantile(cut.size.reshape(-1, 1), 0.9)[0]), setting(median(cut.threshold))
    larger = f"Clip at {number(high, 2)}, the 90th percentile of the norm before clipping, instead of {threshold}"
    code = f"torch.nn.utils.clip_grad_norm_(model.parameters(), {literal(high)})"
    unscale = Action(text="With a GradScaler, call unscale_ before clipping", code="scaler.unscale_(optimizer)")
    if free:
        name = optimizer_class(training)
        leave = Action(
            text=f"Leave {threshold} if it comes from a recipe, as 0.5 does in PPO: {name} normalises the size anyway, "
            "and a rare large gradient still counts no more than the others"
        )
        # What does not show that training suffers is no reason to let a rare step through that is 50 times as large.
        suffers = not loss.shapeless and not loss.improvement >= _LEARNS
        return [leave, *([Action(text=larger, code=code)] if suffers else []), unscale]
    if below_eps:
        return [
            Action(text=larger, code=code),
            Action(text="Or clip nothing: the steps of Adam hardly grow with the gradient"),
            unscale,
        ]
    now = rate_in_words(peak_rates(training) / cut.excess)
    return [
        Action(text=f"{larger}, and start from a learning rate of {now}: that was in effect up to now", code=code),
        unscale,
    ]
