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

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import MOST_DOTS, loss_chart
from gradaudit.evidence.charts.reduce import short
from gradaudit.evidence.words.depth import outcome_sentence
from gradaudit.evidence.words.optimizers import optimizer_line
from gradaudit.evidence.words.wording import count, number, percent, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Dot,
    Dots,
    Finding,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Span,
    Verdict,
)
from gradaudit.signals.gradients.depth_slope import profiled
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.loss.progress import learned_nothing
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, Mask, largest, median, medians
from gradaudit.signals.updates.adam_memory import eps_of, remembered
from gradaudit.signals.updates.learning_rates import optimizer_class
from gradaudit.signals.updates.ratios import last_half, step_weights
from gradaudit.signals.updates.step_size import gradients_per_element
from gradaudit.signals.updates.update_rms import USUAL, typical_update_rms
from gradaudit.training import Training

_USUAL_EPS = 1e-8  # torch's default: nobody chose it for this model
_ROUNDING = 1.001  # settings are kept as float64, defaults of other libraries may be float32


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
def epsilon_dominates(
    training: Training,
    *,
    below: float = 1.0,  # times eps: halves the step (arXiv 2309.14322, section 3.4); healthy runs stay above 98,000
    layers: float = 0.5,  # of the weight layers: a single quiet layer is layer_imbalance's
    most: float = 0.5,  # of the steps: gradients fall during training, and the whole run is judged
    solved: float = 0.01,  # of the first loss: where it is gone, so is the gradient
) -> Iterator[Verdict]:
    """Compare the running RMS of each layer's gradient with the optimizer's eps."""
    eps = eps_of(training)
    if not eps:
        yield NotApplicable(
            reason=f"{optimizer_class(training)} adds no eps to the size of the gradient, or it is not known"
        )
        return
    sizes = remembered(training) / eps
    chosen = weight_layers(training) & (numpy.nan_to_num(sizes) > 0).any(axis=0)
    if not chosen.any() or not numpy.isfinite(sizes[:, chosen]).any():
        yield NotApplicable(reason="no weight layer has a gradient")
        return
    sizes = sizes[:, chosen]
    known = numpy.isfinite(sizes)
    share = _share_below(sizes, below)
    weights = step_weights(training)
    dominated = known.any(axis=1) & (share >= layers) & (share > 0)
    often = float((dominated * weights).sum() / weights.sum())
    loss = training_loss(training)
    done = not loss.shapeless and loss.last <= solved * loss.first
    # Where the loss does not say whether it is solved, gradients that fade late may be the end of the training.
    early = weights.cumsum() <= weights.sum() / 5
    late_only = bool(loss.shapeless) and not (dominated & early).any()
    typical = median(medians(sizes[last_half(training)]))
    if often <= most or done or late_only:
        yield Clean(
            measured=f"in the last half of the run {optimizer_class(training)} has a running gradient RMS of "
            f"{number(typical)} times its eps in the median of {count(chosen.sum())} weight layers"
            + (f", and the loss is down to {number(loss.last)}" if done and often > most else "")
        )
        return
    largest_grad = _at_first(training, chosen) / eps
    nothing = learned_nothing(training)
    grave = largest_grad < below and (eps <= _USUAL_EPS * _ROUNDING or nothing)
    yield _finding(training, chosen, dominated, often, typical, largest_grad, grave, nothing, below, layers, most)


def _share_below(sizes: Floats, below: float) -> Floats:
    """[steps]: of the layers of `sizes` [steps, layers] that are known, the share below `below`."""
    with numpy.errstate(invalid="ignore"):
        small = (sizes < below).sum(axis=1)
    return numpy.asarray(small / numpy.maximum(1, numpy.isfinite(sizes).sum(axis=1)), dtype=float)


def _at_first(training: Training, chosen: Mask) -> float:
    """The largest gradient per element of these layers over the first ten steps; NaN where it is not known."""
    rows = profiled(training)
    return largest(gradients_per_element(training, rows, clipped=False)[chosen]) if rows.any() else math.nan


def _finding(
    training: Training,
    chosen: Mask,
    dominated: Mask,
    often: float,
    typical: float,
    largest_grad: float,
    grave: bool,
    nothing: bool,
    below: float,
    layers: float,
    most: float,
) -> Finding:
    eps, name = eps_of(training), optimizer_class(training)
    steps = training.recorded_global_steps[dominated]
    tensors = [tensor for tensor, take in zip(training.tensors, chosen, strict=True) if take]
    sizes = medians(remembered(training)[:, chosen][last_half(training)])
    sizes_then = remembered(training)[:, chosen][dominated] / eps
    under = [bool(numpy.isfinite(size) and size < below * eps) for size in sizes]
    update_rms = typical_update_rms(training)
    lower = _lower(eps, sizes)
    # That the step is short is arithmetic, so a note, too, may stand above what follows from short steps.
    from_the_start = largest_grad < below and not grave
    return Finding(
        severity=Severity.WARNING if grave else Severity.NOTE,
        confidence=Confidence.HIGH if grave else Confidence.MEDIUM,
        title="Gradients below the optimizer's eps",
        headline=f"Every gradient is below the eps of {name}: at most {number(largest_grad * eps)} per element, and "
        f"eps is {setting(eps)}"
        if largest_grad < below
        else f"The gradients of {count(sum(under))} of {count(len(under))} weight layers are below the eps of {name}, "
        f"{setting(eps)}",
        explanation=f"{name} divides by the root of its running mean of squared gradients, plus eps. In the median "
        "weight "
        f"layer that root is {number(typical, 2)} times eps over the last half of the run. So the step is "
        f"{percent(typical / (1 + typical))} of what it would be without eps, and shrinks with the gradient."
        + (
            f" The updates have an RMS of {number(update_rms, 2)} learning rates per element; "
            f"{setting(USUAL[0])} to {setting(USUAL[1])} is usual."
            if numpy.isfinite(update_rms) and update_rms < USUAL[0] else ""
        )
        + (f" {outcome_sentence(training)}" if nothing else ""),
        span=Span(first=int(steps[0]), last=int(steps[-1])),
        tensors=[tensor.name for tensor, low in zip(tensors, under, strict=True) if low][:20],
        evidence=[
            _dots(training, chosen, sizes, eps, below),
            loss_chart(training, "The training loss of the run.", []),
        ],
        actions=[
            Action(text=f"Set eps from {setting(eps)} to {setting(lower)}",
                   code=optimizer_line(training, eps=setting(lower))),
            Action(text="Do not divide the loss by a large number; take its mean over the batch"),
            *([] if eps <= _USUAL_EPS * _ROUNDING else [
                Action(text=f"Or, if an eps of {setting(eps)} is meant, search the learning rate again for it")]),
        ],
        measures=[
            Measure(quantity="steps at which the layers are below eps", value=often, comparison=">", threshold=most,
                    unit="fraction", option="most"),
            Measure(quantity="layers below eps at these steps, fewest", value=_share_below(sizes_then, below).min(),
                    comparison=">=", threshold=layers, unit="fraction", option="layers"),
            *([] if not numpy.isfinite(largest_grad) else [
            Measure(quantity="largest gradient per element / eps, first ten steps", value=largest_grad, comparison="<",
                    threshold=below, option="below", decides="warning")]),
        ],
        caused=["learning_rate_too_low", "dead_embedding", "layer_imbalance", "no_learning", "no_signal"]
        if from_the_start else [],
    )  # fmt: skip


def _lower(eps: float, sizes: Floats) -> float:
    """A power of ten at a hundredth of the smallest running RMS or below; 1e-15 where eps is above that."""
    known = sizes[numpy.isfinite(sizes) & (sizes > 0)]
    least = float(known.min()) if len(known) else eps
    return float(min(eps / 10, max(1e-15, 10.0 ** math.floor(math.log10(least) - 2))))


def _dots(training: Training, chosen: Mask, sizes: Floats, eps: float, below: float) -> Dots:
    """One dot a weight layer, in depth order: the running RMS of the gradient, against eps."""
    columns = numpy.flatnonzero(chosen)
    every = math.ceil(len(columns) / MOST_DOTS)
    tensors = training.tensors
    return Dots(
        title="Running gradient RMS by layer, last half",
        caption="What the optimizer divides by, before eps is added; from the input at the top to the output at the "
        "bottom.",
        x_label="root of the running mean of squared gradients",
        dots=[
            Dot(
                label=tensors[int(column)].name,
                value=short(float(size)) if size > 0 else None,
                group=tensors[int(column)].role,
                flagged=bool(size < below * eps),
            )
            for column, size in zip(columns[::every], sizes[::every], strict=True)
        ],
        marks=[Mark(label="eps", x=eps)],
    )
