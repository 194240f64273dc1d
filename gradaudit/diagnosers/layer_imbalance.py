"""Layers are out of balance: some learn orders of magnitude faster or slower than others.

## What it looks for

Weight layers of one optimizer that one term of the objective reaches are compared with each other: the heads of a
policy and of a value are not. Embeddings, norms, biases, layers with sparse gradients, layers that start at zero and a
last layer that starts at a tenth of torch.nn's default or less, as those of policies do, are left out. Norms are
divided by the norm of the weights, so a layer's size does not matter, and updates by the learning rate of their group.
Two windows are compared: steps 10 to 60, and the last half.

It is a warning when one of these holds: the update-to-weight ratios span `update_spread` decades in both windows; the
gradient-to-weight ratios span `gradient_spread` decades in both; sorted gradient norms have a gap of `gradient_gap`
decades between neighbours in the first window, which shows what Adam's equal updates hide, and the layers on both sides
of it are as far apart in the second. Under such an optimizer a span of gradients without a gap of `gradual` decades is
not reported: no layer stands apart, and the updates are even. The last two are a note under it when no more than `left`
of the first loss is left. An update spread from `notable` decades in both windows is a note. A parameter group whose
learning rate stays below `rate` of the largest is a warning.

## Why it matters

One learning rate cannot suit layers that differ by a factor of 30. The slow ones stay as they were initialised, or the
fast ones limit the rate that all the others could use.

## What to try

Look at the layer that stands out: its initialisation, a multiplier or scale in front of it, a missing normalisation or
residual path. Adam, or a learning rate for its group, evens out the rest.

## When it is wrong

A layer whose weights start a thousand times too small recovers within some 30 steps, and a head whose loss is weak at
first catches up, which is why both windows must agree. Fine-tuning with smaller learning rates for lower layers is
healthy (1/67 was measured). Healthy models span up to 0.9 decades of update and 2.1 of gradient; the queries and keys
of an encoder and the last layer behind its decoder lie 2.9 apart, with all others in between. A gradient that
changes steadily from layer to layer along the depth is left to `vanishing_gradient` and `exploding_gradient`.
"""

from collections.abc import Iterator

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.layer_dots import ratio_dots
from gradaudit.evidence.words.uneven_layers import outliers_actions, outliers_explanation, outliers_headline
from gradaudit.evidence.words.wording import count, factor, fold, names, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
)
from gradaudit.signals.gradients.depth_slope import Slope, slope
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.layers.layer_profile import EARLY, Quantity
from gradaudit.signals.layers.layers import comparable_layers
from gradaudit.signals.layers.replaced import replaced_at
from gradaudit.signals.layers.term_groups import small_heads, term_groups
from gradaudit.signals.layers.uneven_layers import LayerOutliers, Spreads, layer_outliers, spreads_of
from gradaudit.signals.loss.progress import nearly_done
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Mask
from gradaudit.signals.updates.learning_rates import is_adaptive
from gradaudit.signals.updates.ratios import last_half, window
from gradaudit.signals.updates.slow_groups import SlowGroup, slow_groups
from gradaudit.training import Training

_BLOWN_UP = ["divergence", "learning_rate_too_high", "loss_spike", "non_finite", "unstable_loss"]


class Limits(msgspec.Struct, frozen=True):
    """How far apart layers and learning rates may be."""

    update_spread: float = 1.5  # decades; healthy models reach 0.9, faults start at 1.3
    notable: float = 1.0  # one order of magnitude, just above the healthy maximum
    gradient_spread: float = 2.5  # healthy models reach 2.1 (ReZero)
    gradient_gap: float = 2.2  # healthy models reach 1.7 (ReZero)
    gradual: float = 0.5  # of an Informer, whose layers span 2.9 decades, neighbours are 0.3 apart at most
    left: float = 0.05  # of the first loss: a task that is solved under even updates took no harm
    rate: float = 1e-3  # discriminative fine-tuning at 1/67 is healthy


class NonFinite(Judged, frozen=True):
    """NaN or infinities: the norms are of what is still finite, which is no longer the layer."""

    step: int


class AlongDepth(Judged, frozen=True):
    """The gradient changes steadily from layer to layer, which vanishing_gradient and exploding_gradient say better."""

    slope: Slope


class Uneven(Judged, frozen=True):
    """Some layers stand out in their updates or gradients, in both windows."""

    severity: Severity
    decades: float  # between the extremes, or between both sides of the gap
    spreads: Spreads
    outliers: LayerOutliers
    weights_replaced: bool  # they were blown up or overwritten, and differ because of that
    span: Span


class Even(Judged, frozen=True):
    """No layer stands out."""

    spreads: Spreads
    gap_closed: bool  # an early gap of the gradients was wide, and is no longer


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("tensors.gradient_norm", "tensors.weight_norm", "tensors.update_norm"),
    minimum_steps=100,
    explains=("learning_rate_too_low", "no_learning"),
)
def layer_imbalance(
    training: Training, limits: Limits
) -> Iterator[SlowGroup | Uneven | Even | AlongDepth | NonFinite | NotApplicable | Skipped]:
    """Compare the weight layers of each optimizer with each other."""
    slow = slow_groups(training, limits.rate)
    yield from slow
    chosen = comparable_layers(training) & ~small_heads(training)
    if chosen.sum() < 2:
        if not slow:
            yield NotApplicable(reason="the model has fewer than two weight layers that can be compared")
        return
    broken = non_finite_onset(training)
    if broken is not None and not broken.recovered:
        yield NonFinite(step=broken.step)
        return
    if not window(training, *EARLY).any() or not last_half(training).any():
        yield Skipped(
            reason="no statistics were recorded at steps 10 to 60 or in the last half",
            enable="record more often: --every 1",
        )
        return
    along = slope(training)
    if along is not None:
        if not slow:
            yield AlongDepth(along)
        return
    compared = [
        _compared(training, mine, limits) for group in term_groups(training) if (mine := chosen & group).sum() > 1
    ]
    uneven = [found for found in compared if isinstance(found, Uneven)]
    if uneven:
        yield min(uneven, key=lambda found: found.severity.rank)
    elif not slow and compared:
        yield compared[0]


def _compared(training: Training, chosen: Mask, limits: Limits) -> Uneven | Even:
    """Compare the `chosen` layers with each other."""
    spreads = spreads_of(training, chosen)
    # Even updates that solve the task took no harm from uneven gradients.
    adaptive = is_adaptive(training)
    harmless = adaptive and nearly_done(training_loss(training), limits.left)
    # A scale or a detach sets layers apart; without a gap it is the course of the gradient, and the updates are even.
    apart = not adaptive or spreads.gap.both >= limits.gradual
    of_gradients = Severity.NOTE if harmless else Severity.WARNING
    found: tuple[Quantity, float, Severity]
    if spreads.updates >= limits.update_spread:
        found = ("update", spreads.updates, Severity.WARNING)
    elif spreads.gradients >= limits.gradient_spread and apart:
        found = ("gradient", spreads.gradients, of_gradients)
    elif spreads.gap.both >= limits.gradient_gap:
        found = ("gradient", spreads.gap.both, of_gradients)
    elif spreads.updates >= limits.notable:
        found = ("update", spreads.updates, Severity.NOTE)
    else:
        return Even(spreads=spreads, gap_closed=spreads.gap.early >= limits.gradient_gap)
    quantity, decades, severity = found
    steps = training.recorded_global_steps
    return Uneven(
        severity=severity,
        decades=decades,
        spreads=spreads,
        outliers=layer_outliers(training, chosen, quantity),
        weights_replaced=replaced_at(training) is not None,
        span=Span(first=int(steps[window(training, *EARLY)][0]), last=int(steps[-1])),
    )


@layer_imbalance.tell
def _non_finite(found: NonFinite) -> Skipped:
    return Skipped(
        reason=f"from step {count(found.step)} on there are NaN or infinities", enable="fix what non_finite reports"
    )


@layer_imbalance.tell
def _along_depth(found: AlongDepth) -> Clean:
    return Clean(
        measured=f"the gradient changes {fold(found.slope.drop)} times along the depth, a little in every layer: no "
        "single one stands out"
    )


@layer_imbalance.tell
def _even(found: Even) -> Clean:
    spreads, gap = found.spreads, found.spreads.gap
    measured = (
        f"of {count(spreads.layers)} layers the largest update-to-weight ratio is {fold(spreads.updates)} times the "
        f"smallest, the largest gradient-to-weight ratio {fold(spreads.gradients)} times"
    )
    if found.gap_closed:
        measured += (
            f"; a gap of {fold(gap.early)} times between their gradients at steps 10 to 60 has closed to "
            f"{fold(max(0.0, gap.late))} times in the last half"
        )
    return Clean(measured=measured)


@layer_imbalance.tell
def _slow_group(found: SlowGroup, training: Training, limits: Limits) -> Finding:
    group, rate, largest = found.group, setting(found.peak_rate), setting(found.largest_rate)
    better = setting(found.largest_rate / 10)
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Group learning rate too low",
        headline=f"Parameter group {group} has a learning rate of {rate}, "
        f"{factor(found.largest_rate / found.peak_rate)} times below the largest",
        explanation=f"Group {group} holds {names(list(found.layers))}. At this rate its weights hardly change while "
        f"the other groups train at {largest}.",
        span=Span(first=found.first, last=found.last),
        tensors=list(found.layers[:20]),
        evidence=[ratio_dots(training, "update", found.layers)],
        actions=[
            Action(
                text=f"Raise its learning rate from {rate} to {better}, or freeze it on purpose",
                code=f"optimizer.param_groups[{group}]['lr'] = {better}",
            )
        ],
        measures=[
            Measure(quantity="learning rate of the group / largest", value=found.peak_rate / found.largest_rate,
                    comparison="<", threshold=limits.rate, option="rate"),
        ],
    )  # fmt: skip


@layer_imbalance.tell
def _uneven_layers(found: Uneven, training: Training, limits: Limits) -> Finding:
    outliers = found.outliers
    quantities: list[Quantity] = ["update", "gradient"] if outliers.quantity == "update" else ["gradient", "update"]
    return Finding(
        severity=found.severity,
        confidence=Confidence.HIGH if found.severity is Severity.WARNING else Confidence.MEDIUM,
        title=f"Uneven {outliers.quantity}s across layers",
        headline=outliers_headline(outliers, found.decades),
        explanation=outliers_explanation(outliers),
        span=found.span,
        follows=_BLOWN_UP if found.weights_replaced else [],
        tensors=list(outliers.layers[:20]),
        evidence=[ratio_dots(training, quantity, outliers.layers) for quantity in quantities],
        actions=outliers_actions(outliers, training),
        measures=_measures(found.spreads, limits),
    )


def _measures(spreads: Spreads, limits: Limits) -> list[Measure]:
    return [
        Measure(quantity="spread of update-to-weight ratios, both windows", value=spreads.updates, comparison=">=",
                threshold=limits.update_spread, unit="decades", option="update_spread", decides="warning",
                any_of="uneven"),
        Measure(quantity="spread of update-to-weight ratios, for a note", value=spreads.updates, comparison=">=",
                threshold=limits.notable, unit="decades", option="notable", any_of="uneven"),
        Measure(quantity="spread of gradient-to-weight ratios, both windows", value=spreads.gradients,
                comparison=">=", threshold=limits.gradient_spread, unit="decades", option="gradient_spread",
                decides="warning", any_of="uneven"),
        Measure(quantity="largest gap between sorted gradient norms, both windows", value=spreads.gap.both,
                comparison=">=", threshold=limits.gradient_gap, unit="decades", option="gradient_gap",
                decides="warning", any_of="uneven"),
    ]  # fmt: skip
