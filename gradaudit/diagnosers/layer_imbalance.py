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
of it are as far apart in the second; the last two are a note under such an optimizer when no more than `left` of the
first loss is left. An update spread from `notable` decades in both windows is a note. A parameter group whose learning
rate stays below `rate` of the largest is a warning.

## Why it matters

One learning rate cannot suit layers that differ by a factor of 30. The slow ones stay as they were initialised, or the
fast ones limit the rate that all the others could use.

## What to try

Look at the layer that stands out: its initialisation, a multiplier or scale in front of it, a missing normalisation or
residual path. Adam, or a learning rate for its group, evens out the rest.

## When it is wrong

A layer whose weights start a thousand times too small recovers within some 30 steps, and a head whose loss is weak at
first catches up, which is why both windows must agree. Fine-tuning with smaller learning rates for lower layers is
healthy (1/67 was measured). Healthy models span up to 0.9 decades of update and 2.1 of gradient. A gradient that
changes steadily from layer to layer along the depth is left to `vanishing_gradient` and `exploding_gradient`.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import MOST_DOTS
from gradaudit.evidence.charts.reduce import short
from gradaudit.evidence.words.module_names import layer
from gradaudit.evidence.words.wording import count, factor, fold, in_code, names, setting
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
    Skipped,
    Span,
    Verdict,
)
from gradaudit.signals.gradients.depth_slope import slope
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.layers.initialisation import first_rms
from gradaudit.signals.layers.layer_profile import EARLY, Quantity, lasting_gap, logarithms_of, outliers, profile
from gradaudit.signals.layers.layers import comparable_layers, weight_layers
from gradaudit.signals.layers.replaced import replaced_at
from gradaudit.signals.layers.term_groups import small_heads, term_groups
from gradaudit.signals.loss.progress import nearly_done
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, Mask, medians
from gradaudit.signals.updates.learning_rates import is_adaptive, peak_rates
from gradaudit.signals.updates.ratios import gradient_ratio, last_half, update_ratio, window
from gradaudit.training import Training

_BOLD = 3.0  # times the learning rate of the others, as a first try
_BLOWN_UP = ["divergence", "learning_rate_too_high", "loss_spike", "non_finite", "unstable_loss"]
_LONGEST_NAME = 25  # characters of a tensor's name, in a headline of at most 110
_UNLIKE = 2.0  # times: initial sizes that differ less are ordinary


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("tensors.gradient_norm", "tensors.weight_norm", "tensors.update_norm"),
    minimum_steps=100,
    explains=("learning_rate_too_low", "no_learning"),
)
def layer_imbalance(
    training: Training,
    *,
    update_spread: float = 1.5,  # decades; healthy models reach 0.9, faults start at 1.3
    notable: float = 1.0,  # one order of magnitude, just above the healthy maximum
    gradient_spread: float = 2.5,  # healthy models reach 2.1 (ReZero)
    gradient_gap: float = 2.2,  # healthy models reach 1.7 (ReZero)
    left: float = 0.05,  # of the first loss: a task that is solved under even updates took no harm
    rate: float = 1e-3,  # discriminative fine-tuning at 1/67 is healthy
) -> Iterator[Verdict]:
    """Compare the weight layers of each optimizer with each other."""
    low_rate = list(_low_rate(training, rate))
    yield from low_rate
    chosen = comparable_layers(training) & ~small_heads(training)
    if chosen.sum() < 2:
        if not low_rate:
            yield NotApplicable(reason="the model has fewer than two weight layers that can be compared")
        return
    broken = non_finite_onset(training)
    if broken is not None and not broken.recovered:
        # The norms are of what is still finite, which is no longer the layer.
        yield Skipped(
            reason=f"from step {count(broken.step)} on there are NaN or infinities",
            enable="fix what non_finite reports",
        )
        return
    if not window(training, *EARLY).any() or not last_half(training).any():
        yield Skipped(
            reason="no statistics were recorded at steps 10 to 60 or in the last half",
            enable="record more often: --every 1",
        )
        return
    along = slope(training)
    if along is not None:
        # One and the same profile: vanishing_gradient or exploding_gradient says it better.
        if not low_rate:
            yield Clean(
                measured=f"the gradient changes {fold(along.drop)} times along the depth, a little in every layer: "
                f"no single one stands out"
            )
        return
    limits = (update_spread, notable, gradient_spread, gradient_gap)
    harmless = is_adaptive(training) and nearly_done(training_loss(training), left)
    verdicts = [
        _compared(training, mine, *limits, Severity.NOTE if harmless else Severity.WARNING)
        for group in term_groups(training)
        if (mine := chosen & group).sum() > 1
    ]
    found = [verdict for verdict in verdicts if isinstance(verdict, Finding)]
    if found:
        yield min(found, key=lambda finding: finding.severity.rank)
    elif not low_rate and verdicts:
        yield verdicts[0]


def _compared(
    training: Training,
    chosen: Mask,
    update_spread: float,
    notable: float,
    gradient_spread: float,
    gap_: float,
    uneven_gradient: Severity,
) -> Finding | Clean:
    """Compare the `chosen` layers with each other; `uneven_gradient` is how bad it is where only gradients differ."""
    among = chosen[comparable_layers(training)]
    updates, gradients = (profile(training, "update").of(among), profile(training, "gradient").of(among))
    norms = training.matrix("gradient_norm")[:, chosen]
    gap = lasting_gap(logarithms_of(norms, window(training, *EARLY)), logarithms_of(norms, last_half(training)))
    measures = [
        Measure(
            quantity="spread of update-to-weight ratios, both windows",
            value=updates.spread,
            comparison=">=",
            threshold=update_spread,
            unit="decades",
            option="update_spread",
            decides="warning",
            any_of="uneven",
        ),
        Measure(
            quantity="spread of update-to-weight ratios, for a note",
            value=updates.spread,
            comparison=">=",
            threshold=notable,
            unit="decades",
            option="notable",
            any_of="uneven",
        ),
        Measure(
            quantity="spread of gradient-to-weight ratios, both windows",
            value=gradients.spread,
            comparison=">=",
            threshold=gradient_spread,
            unit="decades",
            option="gradient_spread",
            decides="warning",
            any_of="uneven",
        ),
        Measure(
            quantity="largest gap between sorted gradient norms, both windows",
            value=gap.both,
            comparison=">=",
            threshold=gap_,
            unit="decades",
            option="gradient_gap",
            decides="warning",
            any_of="uneven",
        ),
    ]
    found: tuple[Severity, Quantity, Floats, float] | None = None
    if updates.spread >= update_spread:
        found = (Severity.WARNING, "update", updates.late, updates.spread)
    elif gradients.spread >= gradient_spread:
        found = (uneven_gradient, "gradient", gradients.late, gradients.spread)
    elif gap.both >= gap_:
        found = (uneven_gradient, "gradient", gradients.late, gap.both)
    elif updates.spread >= notable:
        found = (Severity.NOTE, "update", updates.late, updates.spread)
    if found is not None:
        return _finding(training, chosen, *found, measures)
    return Clean(
        measured=f"of {count(chosen.sum())} layers the largest update-to-weight ratio is "
        f"{fold(updates.spread)} times the smallest, the largest gradient-to-weight ratio "
        f"{fold(gradients.spread)} times"
        + (f"; a gap of {fold(gap.early)} times between their gradients at steps 10 to 60 has closed to "
           f"{fold(max(0.0, gap.late))} times in the last half" if gap.early >= gap_ else "")
    )  # fmt: skip


def _finding(
    training: Training,
    chosen: Mask,
    severity: Severity,
    quantity: Quantity,
    logarithms: Floats,
    decades: float,
    measures: list[Measure],
) -> Finding:
    tensors = [t for t, take in zip(training.tensors, chosen, strict=True) if take]
    away, out = outliers(logarithms)
    order = sorted(numpy.flatnonzero(out), key=lambda index: -abs(away[index]))
    worst = int(order[0])
    flagged = [tensors[int(index)].name for index in order]
    name = flagged[0]
    speed = "slower" if away[worst] < 0 else "faster"
    times = 10 ** abs(float(away[worst]))
    verb = f"changes {factor(times)} times {speed}" if quantity == "update" else (
        f"has {factor(times)} times {'less' if away[worst] < 0 else 'more'}"
    )  # fmt: skip
    seen = [
        f"The {quantity}-to-weight ratio of {name} is {factor(times)} times "
        f"{'smaller' if away[worst] < 0 else 'larger'} than the median of {count(len(tensors))} layers."
    ]
    if len(flagged) > 1:
        seen.append(f"{count(len(flagged))} layers stand out: {names(flagged, 4)}.")
    seen.append("This holds at steps 10 to 60 and over the last half: training does not even it out.")
    if quantity == "gradient":
        seen.append(
            "The updates are nearly even, because the optimizer divides by the size of the gradient."
            if is_adaptive(training)
            else "The updates do not differ as much."
        )
    steps = training.recorded_global_steps
    return Finding(
        severity=severity,
        confidence=Confidence.HIGH if severity is Severity.WARNING else Confidence.MEDIUM,
        title="Uneven updates across layers" if quantity == "update" else "Uneven gradients across layers",
        headline=f"{quantity.capitalize()}s differ up to {fold(decades)} times: "
        f"{name if len(name) <= _LONGEST_NAME else 'one layer'} {verb} than the median",
        explanation=" ".join(seen),
        span=Span(first=int(steps[window(training, *EARLY)][0]), last=int(steps[-1])),
        # Layers whose weights were blown up or overwritten differ because of that.
        follows=_BLOWN_UP if replaced_at(training) is not None else [],
        tensors=flagged[:20],
        evidence=[_dots(training, name, flagged) for name in _both(quantity)],
        actions=_actions(training, name, tensors[worst].module, times, speed),
        measures=measures,
    )


def _both(first: Quantity) -> list[Quantity]:
    return ["update", "gradient"] if first == "update" else ["gradient", "update"]


def _dots(training: Training, quantity: Quantity, flagged: list[str]) -> Dots:
    """One dot a weight layer, in depth order; of very many layers the flagged ones and an even choice of the others."""
    values = update_ratio(training) if quantity == "update" else gradient_ratio(training)
    middle = medians(values[last_half(training)])
    marked = set(flagged)
    all_layers = [
        Dot(label=tensor.name, value=short(float(value)) if value > 0 else None, group=tensor.role,
            flagged=tensor.name in marked)
        for tensor, value, take in zip(training.tensors, middle, weight_layers(training), strict=True)
        if take
    ]  # fmt: skip
    every = math.ceil(len(all_layers) / MOST_DOTS)
    kept = [dot for index, dot in enumerate(all_layers) if dot.flagged or index % every == 0][: 2 * MOST_DOTS]
    compared = middle[comparable_layers(training)]
    typical = float(medians(compared.reshape(-1, 1))[0])
    return Dots(
        title=f"{quantity.capitalize()}-to-weight ratio by layer",
        caption="The median over the last half of the run, from the input at the top to the output at the bottom. "
        "Layers that learn at the same rate lie under each other; each decade is a factor of ten.",
        x_label=f"|{quantity}| / |weight|",
        dots=kept,
        marks=[Mark(label="median layer", x=short(typical), role="reference")] if typical > 0 else [],
    )


def _actions(training: Training, name: str, module: str, times: float, speed: str) -> list[Action]:
    rate = peak_rates(training)
    usual = float(numpy.nanmax(rate)) if numpy.isfinite(rate).any() else math.nan
    # A layer that lags 20 times does not bear 20 times the rate: the others may be what makes it lag.
    better = usual * min(times, _BOLD) if speed == "slower" else usual / times
    actions = [
        *_start_anew(training, name, module),
        Action(
            text=f"Check whether a scale, a multiplier or a detach() stands in or behind "
            f"{layer(training.run, module) or name}: what makes it {factor(times)} times {speed} was not recorded"
        ),
    ]
    if not is_adaptive(training):
        actions.append(
            Action(
                text="Use an optimizer that divides by the size of the gradient",
                code="torch.optim.AdamW(model.parameters(), lr=1e-3)",
            )
        )
        if math.isfinite(better) and times <= 100:
            actions.append(
                Action(
                    text=f"Or give {name} its own learning rate, {setting(float(f'{better:.1g}'))} instead of "
                    f"{setting(usual)}"
                    + (", and more only if the loss bears it" if speed == "slower" and times > _BOLD else "")
                )
            )
    else:
        actions.append(
            Action(text="Add a normalisation or a residual path, so that the gradient reaches every layer evenly")
        )
    return actions


def _start_anew(training: Training, name: str, module: str) -> list[Action]:
    """Which layers to initialise otherwise, where they start at sizes that differ; nothing where they do not."""
    mine, chosen = math.nan, []
    for tensor, take in zip(training.tensors, comparable_layers(training), strict=True):
        # Recurrent layers have defaults of their own.
        known = take and any(word in tensor.module_class for word in ("Linear", "Conv"))
        size = (
            first_rms(training.run, tensor) * math.sqrt(3 * max(1, math.prod(tensor.shape[1:]))) if known else math.nan
        )
        if tensor.name == name:
            mine = size
        elif math.isfinite(size):
            chosen.append(size)
    others = float(numpy.median(chosen)) if chosen else math.nan
    if not (mine > 0 and others > 0) or max(mine / others, others / mine) < _UNLIKE:
        return []
    # As many times torch.nn's default as it is off: whichever is further away is the odd one.
    if abs(math.log(mine)) >= abs(math.log(others)):
        return [
            Action(
                text=f"Initialise {name} like its neighbours: it starts at {factor(mine)} times torch.nn's default, "
                f"they at {factor(others)} times",
                code=f"{in_code(module)}.reset_parameters()" if module else "",
            )
        ]
    return [
        Action(
            text=f"Initialise the other layers like {name}: they start at {factor(others)} times torch.nn's default, "
            f"it at {factor(mine)} times",
            code="layer.reset_parameters()",
        )
    ]


def _low_rate(training: Training, rate: float) -> Iterator[Finding]:
    peaks = peak_rates(training)
    usable = numpy.flatnonzero(peaks > 0)
    if len(usable) < 2:
        return
    top = float(peaks[usable].max())
    tensors = [t for t, take in zip(training.tensors, weight_layers(training), strict=True) if take]
    for group in usable:
        members = [tensor.name for tensor in tensors if tensor.group == group]
        if not members or peaks[group] >= rate * top:
            continue
        frame = training.steps
        yield Finding(
            severity=Severity.WARNING,
            confidence=Confidence.CERTAIN,
            title="Group learning rate too low",
            headline=f"Parameter group {group} has a learning rate of {setting(float(peaks[group]))}, "
            f"{factor(top / float(peaks[group]))} times below the largest",
            explanation=f"Group {group} holds {names(members)}. At this rate its weights hardly change while the "
            "other groups "
            f"train at {setting(top)}.",
            span=Span(first=int(frame["global_step"].min()), last=int(frame["global_step"].max())),
            tensors=members[:20],
            evidence=[_dots(training, "update", members)],
            actions=[
                Action(
                    text=f"Raise its learning rate from {setting(float(peaks[group]))} to {setting(top / 10)}, or "
                    "freeze it on purpose",
                    code=f"optimizer.param_groups[{group}]['lr'] = {setting(top / 10)}",
                )
            ],
            measures=[
                Measure(
                    quantity="learning rate of the group / largest",
                    value=float(peaks[group]) / top,
                    comparison="<",
                    threshold=rate,
                    option="rate",
                )
            ],
        )
