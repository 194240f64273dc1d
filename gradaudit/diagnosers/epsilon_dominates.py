"""The gradients are below the optimizer's eps, which then sets the size of each step.

## What it looks for

Adam and similar optimizers divide by the root of a running mean of squared gradients, plus eps. That root is computed
per element of each weight layer, from the recorded gradients before clipping and the optimizer's beta. It is a note
when it lies below `below` times eps in at least `layers` of the weight layers, at more than `most` of the steps. It is
a warning when even the layer with the largest gradient has less per element than that over the first ten steps, and the
eps is no larger than torch's default or the model has learned nothing. Where the loss has come down to `solved` of its
first value, small gradients are the end of a training and are not reported.

## Why it matters

Adam's step is as long for a small gradient as for a large one; that is why it trains layers of every scale. Below eps
this no longer holds: the step shrinks with the gradient, as under SGD with the learning rate divided by eps. Layers
with small gradients fall behind, and a wide model can collapse where a smaller one of the same recipe does not.

## What to try

Lower eps to a hundredth of that root or less: float32 has room down to 1e-15. Take the mean of the loss over the batch,
and do not divide it by a large number on top. In half precision look at the scale of the loss first.

## When it is wrong

A large eps may be meant: some recipes for vision set 0.1 or 1, some agents 1.5e-4. The learning rate is then tuned to
it. Parameter groups with an eps of their own are judged by that of the optimizer. Elements of one layer differ: half of
them may lie far below the value given here. Gradients that clipping makes so small are left to `constant_clipping`.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.layer_dots import eps_dots
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.depth import outcome_sentence
from gradaudit.evidence.words.optimizers import optimizer_line
from gradaudit.evidence.words.wording import count, number, percent, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Span
from gradaudit.signals.gradients.depth_slope import profiled
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.loss.nothing_gained import NothingGained, nothing_gained
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, Integers, Mask, largest, median, medians
from gradaudit.signals.updates.adam_memory import eps_of, remembered
from gradaudit.signals.updates.learning_rates import optimizer_class
from gradaudit.signals.updates.ratios import last_half, step_weights
from gradaudit.signals.updates.step_size import gradients_per_element
from gradaudit.signals.updates.update_rms import USUAL, median_update_rms
from gradaudit.training import Training

_USUAL_EPS = 1e-8  # torch's default: nobody chose it for this model
_ROUNDING = 1.001  # settings are kept as float64, defaults of other libraries may be float32


class Limits(msgspec.Struct, frozen=True):
    """From where on eps, and not the gradient, sets the size of a step."""

    below: float = 1.0  # times eps: halves the step (arXiv 2309.14322, section 3.4); healthy runs stay above 98,000
    layers: float = 0.5  # of the weight layers: a single quiet layer is layer_imbalance's
    most: float = 0.5  # of the steps: gradients fall during training, and the whole run is judged
    solved: float = 0.01  # of the first loss: with so little left the gradient is small, too


class NoEps(Judged, frozen=True):
    """The optimizer adds no eps to the size of the gradient, or it is not known."""


class BelowEps(Judged, frozen=True):
    """The running RMS of most layers' gradients is below eps at most steps."""

    eps: float
    typical: float  # running gradient RMS / eps, median layer over the last half
    steps_below: float  # share of the steps at which the layers are below eps
    layers_below: float  # the smallest share of the layers that are below eps at one of these steps
    largest_gradient: float  # per element / eps, largest layer over the first ten steps; NaN where not known
    every_gradient: bool  # even the largest one is below eps
    is_too_large: bool  # and nobody chose this eps, or the model has learned nothing
    learned_nothing: NothingGained | None
    is_chosen: bool  # the eps is above torch's default
    suggested_eps: float
    update_rms: float  # learning rates per element; NaN where not known
    updates_are_small: bool  # less than is usual of this kind of optimizer
    columns: Integers  # [layers] in the matrices of the training
    rms: Floats  # [layers] running gradient RMS over the last half, in units of the gradient
    below: tuple[str, ...]  # the layers at which that is below eps
    span: Span


class AboveEps(Judged, frozen=True):
    """The gradients are above eps, or below it only because the loss is solved."""

    typical: float  # running gradient RMS / eps, median layer over the last half
    layers: int
    solved_at: float | None  # the last loss, where the gradients are below eps because it is so low


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("tensors.gradient_norm",),
    minimum_steps=10,
    explains=(
        "no_learning",
        "no_signal",
        "layer_imbalance",
        "frozen_parameter",
        "learning_rate_too_low",
        "dead_embedding",
    ),
)
def epsilon_dominates(training: Training, limits: Limits) -> Iterator[BelowEps | AboveEps | NoEps | NotApplicable]:
    """Compare the running RMS of each layer's gradient with the optimizer's eps."""
    eps = eps_of(training)
    if not eps:
        yield NoEps()
        return
    sizes = remembered(training) / eps
    chosen = weight_layers(training) & (numpy.nan_to_num(sizes) > 0).any(axis=0)
    if not chosen.any() or not numpy.isfinite(sizes[:, chosen]).any():
        yield NotApplicable(reason="no weight layer has a gradient")
        return
    sizes = sizes[:, chosen]
    share = _share_below(sizes, limits.below)
    weights = step_weights(training)
    dominated = numpy.isfinite(sizes).any(axis=1) & (share >= limits.layers) & (share > 0)
    often = float((dominated * weights).sum() / weights.sum())
    loss = training_loss(training)
    done = not loss.shapeless and loss.last <= limits.solved * loss.first
    # Where the loss does not say whether it is solved, gradients that fade late may be the end of the training.
    early = weights.cumsum() <= weights.sum() / 5
    late_only = bool(loss.shapeless) and not (dominated & early).any()
    if often <= limits.most or done or late_only:
        yield AboveEps(
            typical=_typical(training, sizes),
            layers=int(chosen.sum()),
            solved_at=loss.last if done and often > limits.most else None,
        )
    else:
        yield _below_eps(training, chosen, dominated, often, limits)


def _below_eps(training: Training, chosen: Mask, dominated: Mask, often: float, limits: Limits) -> BelowEps:
    eps, sizes = eps_of(training), remembered(training)[:, chosen]
    rms = medians(sizes[last_half(training)])
    at_first, nothing = _at_first(training, chosen) / eps, nothing_gained(training)
    every, is_chosen = at_first < limits.below, eps > _USUAL_EPS * _ROUNDING
    update_rms, steps = median_update_rms(training), training.recorded_global_steps[dominated]
    columns = numpy.flatnonzero(chosen)
    return BelowEps(
        eps=eps,
        typical=_typical(training, sizes / eps),
        steps_below=often,
        layers_below=float(_share_below(sizes[dominated] / eps, limits.below).min()),
        largest_gradient=at_first,
        every_gradient=every,
        is_too_large=every and (not is_chosen or nothing is not None),
        learned_nothing=nothing,
        is_chosen=is_chosen,
        suggested_eps=_lower(eps, rms),
        update_rms=update_rms,
        updates_are_small=math.isfinite(update_rms) and update_rms < USUAL[0],
        columns=columns,
        rms=rms,
        below=tuple(training.tensors[int(column)].name for column in columns[rms < limits.below * eps]),
        span=Span(first=int(steps[0]), last=int(steps[-1])),
    )


def _typical(training: Training, sizes: Floats) -> float:
    """Of `sizes` [recorded steps, layers], the median layer over the last half of the run."""
    return median(medians(sizes[last_half(training)]))


def _share_below(sizes: Floats, below: float) -> Floats:
    """[steps]: of the layers of `sizes` [steps, layers] that are known, the share below `below`."""
    with numpy.errstate(invalid="ignore"):
        small = (sizes < below).sum(axis=1)
    return numpy.asarray(small / numpy.maximum(1, numpy.isfinite(sizes).sum(axis=1)), dtype=float)


def _at_first(training: Training, chosen: Mask) -> float:
    """The largest gradient per element of these layers over the first ten steps; NaN where it is not known."""
    rows = profiled(training)
    return largest(gradients_per_element(training, rows, clipped=False)[chosen]) if rows.any() else math.nan


def _lower(eps: float, sizes: Floats) -> float:
    """A power of ten at a hundredth of the smallest running RMS or below; 1e-15 where eps is above that."""
    known = sizes[numpy.isfinite(sizes) & (sizes > 0)]
    least = float(known.min()) if len(known) else eps
    return float(min(eps / 10, max(1e-15, 10.0 ** math.floor(math.log10(least) - 2))))


@epsilon_dominates.tell
def _no_eps(found: NoEps, training: Training) -> NotApplicable:
    return NotApplicable(
        reason=f"{optimizer_class(training)} adds no eps to the size of the gradient, or it is not known"
    )


@epsilon_dominates.tell
def _above(found: AboveEps, training: Training) -> Clean:
    return Clean(
        measured=f"in the last half of the run {optimizer_class(training)} has a running gradient RMS of "
        f"{number(found.typical)} times its eps in the median of {count(found.layers)} weight layers"
        + ("" if found.solved_at is None else f", and the loss is down to {number(found.solved_at)}")
    )


@epsilon_dominates.tell
def _finding(found: BelowEps, training: Training, limits: Limits) -> Finding:
    # That the step is short is arithmetic, so a note, too, may stand above what follows from short steps.
    from_the_start = found.every_gradient and not found.is_too_large
    return Finding(
        severity=Severity.WARNING if found.is_too_large else Severity.NOTE,
        confidence=Confidence.HIGH if found.is_too_large else Confidence.MEDIUM,
        title="Gradients below the optimizer's eps",
        headline=_headline(found, optimizer_class(training)),
        explanation=_explanation(found, training),
        span=found.span,
        tensors=list(found.below[:20]),
        evidence=[
            eps_dots(training, found.columns, found.rms, set(found.below), found.eps),
            loss_chart(training, "The training loss of the run.", []),
        ],
        actions=_actions(found, training),
        measures=_measures(found, limits),
        caused=["learning_rate_too_low", "dead_embedding", "layer_imbalance", "no_learning", "no_signal"]
        if from_the_start
        else [],
    )


def _headline(found: BelowEps, name: str) -> str:
    eps = setting(found.eps)
    if found.every_gradient:
        most = number(found.largest_gradient * found.eps)
        return f"Every gradient is below the eps of {name}: at most {most} per element, and eps is {eps}"
    layers = f"{count(len(found.below))} of {count(len(found.columns))} weight layers"
    return f"The gradients of {layers} are below the eps of {name}, {eps}"


def _explanation(found: BelowEps, training: Training) -> str:
    sentences = [
        f"{optimizer_class(training)} divides by the root of its running mean of squared gradients, plus eps. In the "
        f"median weight layer that root is {number(found.typical, 2)} times eps over the last half of the run. So the "
        f"step is {percent(found.typical / (1 + found.typical))} of what it would be without eps, and shrinks with the "
        "gradient."
    ]
    if found.updates_are_small:
        sentences.append(
            f"The updates have an RMS of {number(found.update_rms, 2)} learning rates per element; "
            f"{setting(USUAL[0])} to {setting(USUAL[1])} is usual."
        )
    if found.learned_nothing:
        sentences.append(outcome_sentence(found.learned_nothing))
    return " ".join(sentences)


def _actions(found: BelowEps, training: Training) -> list[Action]:
    eps, lower = setting(found.eps), setting(found.suggested_eps)
    actions = [
        Action(text=f"Set eps from {eps} to {lower}", code=optimizer_line(training, eps=lower)),
        Action(text="Do not divide the loss by a large number; take its mean over the batch"),
    ]
    if found.is_chosen:
        actions.append(Action(text=f"Or, if an eps of {eps} is meant, search the learning rate again for it"))
    return actions


def _measures(found: BelowEps, limits: Limits) -> list[Measure]:
    measures = [
        Measure(quantity="steps at which the layers are below eps", value=found.steps_below, comparison=">",
                threshold=limits.most, unit="fraction", option="most"),
        Measure(quantity="layers below eps at these steps, fewest", value=found.layers_below, comparison=">=",
                threshold=limits.layers, unit="fraction", option="layers"),
    ]  # fmt: skip
    if math.isfinite(found.largest_gradient):
        measures.append(
            Measure(quantity="largest gradient per element / eps, first ten steps", value=found.largest_gradient,
                    comparison="<", threshold=limits.below, option="below", decides="warning")
        )  # fmt: skip
    return measures
