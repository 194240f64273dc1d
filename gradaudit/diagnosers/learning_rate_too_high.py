"""The learning rate is too high: updates replace the weights instead of adjusting them.

## What it looks for

The update-to-weight ratio: the size of one update over that of the weights (the median over the weight layers), at its
largest over the run. Above `note` it is a note, and a warning when the loss overshoots at once,
by more than batches differ: the median of steps 1 to 5 at `overshoot` times the first loss, or one of the first ten
steps at `jump` times it. Above `alone` it is a warning, too, when the run ends with `kept` of its first loss or more,
or with `kept` of that of a constant prediction: the frequencies of the labels, or the mean of the target. It is
one from `with_symptom` on where the median weight layer grows `grown` times within ten steps as well: a warmup or a
clip threshold spreads one step that is too large over several.
It is critical above `with_symptom` when training diverges, ends in NaN after growing, or learns nothing in `epochs`
epochs (`steps` steps when the epochs are not known). A loss that shows no harm is no reason for a warning.

## Why it matters

A step that changes a layer by half of its own size destroys what the layer had learned. Units die, the loss jumps, and
afterwards the updates can look small, because dead units receive no gradient: only the early maximum shows it.

## What to try

A learning rate at which the first update that is too large becomes a tenth of the weights; where only the first steps
are too large, a warmup over the first 100; or clipping the gradient norm. With SGD, check that the loss is averaged
over the batch and that inputs and targets are standardised.

## When it is wrong

Adagrad and RMSprop make one large first step (up to 0.47 in healthy runs), and a one-layer model can take large steps
(0.35). A missing warmup and a learning rate that is too high look the same here. Layers that start at zero, and weights
that weight decay has shrunk below 0.3 of their start, are left out. Where the loss diverges and most of the steps
before were not recorded, the check is skipped.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart, update_chart
from gradaudit.evidence.words.optimizers import optimizer_line, rate_in_words
from gradaudit.evidence.words.run_numbers import update_size
from gradaudit.evidence.words.schedules import hold
from gradaudit.evidence.words.step_harm import harm_measures, little, overshooting, size_measures, symptom
from gradaudit.evidence.words.wording import count, factor, number, setting
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
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import largest, median
from gradaudit.signals.updates.increasing_schedule import increasing_schedule
from gradaudit.signals.updates.learning_rates import (
    is_adaptive,
    line_search,
    maximizes,
    optimizer_class,
    peak_rates,
    same_rate,
)
from gradaudit.signals.updates.ratios import last_half, median_update_ratio, update_ratio
from gradaudit.signals.updates.stable_learning_rate import AIM, StableLearningRate, rates_at, stable_learning_rate
from gradaudit.signals.updates.weight_growth import fastest_growth
from gradaudit.training import Training

_EARLY = 10  # recorded steps
_STARTING = 100  # steps, the length of the warmup that is advised: later a warmup comes too late
_RECKLESS = 10.0  # times: a rate that was so much too high is no goal of a warmup
_STILL_RISING = 1.5  # times the rate of the update that is too large: then a warmup was under way
_LEAD_UP = 20  # steps before divergence, or at the start: SGD's updates grow over 3 to 30 steps


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.update_norm", "tensors.weight_norm"),
    minimum_steps=10,
    explains=(
        "divergence",
        "non_finite",
        "no_learning",
        "gradient_growth",
        "loss_spike",
        "unstable_loss",
        "layer_imbalance",
        "dead_embedding",
        "dead_relu",
        "no_signal",
        "premature_plateau",
    ),
)
def learning_rate_too_high(
    training: Training,
    *,
    alone: float = 0.8,  # healthy runs stay below 0.47, runs with a learning rate 10 times too high start at 0.79
    note: float = 0.5,  # just above the largest healthy value, 0.47 (Adagrad's first step)
    with_symptom: float = 0.2,  # the weakest of 75 faulty runs reached 0.19
    overshoot: float = 1.6,  # measured together with `note` over 96 runs of a learning-rate sweep
    jump: float = 3.0,  # the same sweep
    kept: float = 0.8,  # of the loss; a small model under SGD takes such steps and learns well
    grown: float = 2.0,  # times; of 33 healthy runs of real programs four came above 1.6, and those learned well
    epochs: float = 5,  # before that, healthy models may still sit at the constant predictor
    steps: float = 200,  # at 100 steps, 6 of 410 healthy runs had not left the constant predictor
) -> Iterator[Verdict]:
    """Judge the largest median update-to-weight ratio together with what the loss did."""
    if not weight_layers(training).any():
        yield NotApplicable(reason="the model has no trained weight matrix")
        return
    updates = median_update_ratio(training)
    top = largest(updates)
    if math.isnan(top):
        yield Skipped(
            reason="no finite update of a weight layer was recorded",
            enable="record from the first step on; layers that start at zero cannot be judged",
        )
        return
    loss = training_loss(training)
    broken, since = symptom(training, epochs, steps)
    early = "" if maximizes(training) else overshooting(loss, overshoot, jump)
    times, _ = fastest_growth(training)
    enough = with_symptom if times >= grown else alone
    poor = "" if maximizes(training) or top < enough else little(loss, kept)
    if broken and top >= with_symptom:
        severity = Severity.CRITICAL
    elif line_search(training) and top >= note:
        severity = Severity.NOTE
    elif (early and top >= note) or poor:
        severity = Severity.WARNING
    elif top >= note:
        severity = Severity.NOTE
    elif (broken or early) and _unseen(training, since):
        yield Skipped(
            reason=f"{(broken or early).rstrip('.')}, and the updates of most of the {_LEAD_UP} steps before were "
            "not recorded",
            enable="record every step: --every 1",
        )
        return
    else:
        at = int(training.recorded_global_steps[int(numpy.nanargmax(updates))])
        yield Clean(
            measured=f"one step changes the median weight layer by at most {number(top, 2)} times its size, at "
            f"step {count(at)}"
        )
        return
    measures = [
        *size_measures(top, severity, times, with_symptom=with_symptom, note=note, grown=grown),
        *harm_measures(loss, top, overshoot=overshoot, jump=jump, kept=kept, alone=alone),
    ]
    harm = broken or early or poor
    grows = times >= grown
    yield _finding(training, severity, harm, measures, with_symptom if broken or top < note else note, grows)


def _unseen(training: Training, since: int) -> bool:
    """Whether most of the steps were not recorded that led to step `since`, or of the first steps."""
    everywhere = training.steps["global_step"].to_numpy()
    before = everywhere[everywhere <= since][-_LEAD_UP:] if since > everywhere[0] else everywhere[:_LEAD_UP]
    return bool(numpy.isin(before, training.recorded_global_steps).mean() < 0.5)


def _only_early(training: Training, peak: int, consequence: str) -> bool:
    """Whether only the first steps are too large: the updates then settle by themselves, and the run is well."""
    updates = median_update_ratio(training)
    settled = median(updates[last_half(training)])
    return not consequence and peak < _EARLY and settled < AIM


def _slower(training: Training, stable: StableLearningRate, only_early: bool) -> list[Action]:
    """A learning rate that makes the first update that is too large a tenth of the weights; and a warmup.

    The fitting one comes first. A rate ten times too high or more is not worth a warmup, and one that still rises
    has one.
    """
    rates, lower, times = stable.rates, stable.lower, stable.times
    peak = peak_rates(training)
    warming = bool((peak > _STILL_RISING * rates).any())
    reduce = Action(
        text=f"Lower the learning rate from {rate_in_words(peak)} to {rate_in_words(lower)}: the first update that "
        f"was too large, at step {count(stable.step)} and {rate_in_words(rates)}, is then near a tenth of the weights"
        if warming
        else f"Lower the learning rate from {rate_in_words(rates)} to {rate_in_words(lower)}: the first update that "
        "was too large is then near a tenth of the weights",
        code=optimizer_line(training, lr=rate_in_words(lower)) if same_rate(rates) else "",
    )
    if warming:
        return [reduce]
    warm = Action(
        text=f"Warm up over the first 100 steps, from {rate_in_words(lower)} to {rate_in_words(rates)}: only the first "
        "updates are too large"
        if only_early
        else f"Or keep it and warm up over the first 100 steps, from {rate_in_words(lower)}",
        code="torch.optim.lr_scheduler.LinearLR(optimizer, start_factor="
        f"{setting(float(f'{1 / times:.0e}'))}, total_iters=100)",
    )
    if only_early:
        return [warm, reduce]
    return [reduce, warm] if times < _RECKLESS and stable.step < _STARTING else [reduce]


def _size(ratio: float) -> str:
    """To three digits, because thresholds lie close: 0.386; in words from a million on."""
    return number(ratio) if ratio < 1e6 else factor(ratio)


def _growth(training: Training) -> str:
    times, since = fastest_growth(training)
    return (
        f" The median weight layer grows to {factor(times)} times its size within ten steps from step {count(since)}."
    )


def _finding(
    training: Training,
    severity: Severity,
    consequence: str,
    measures: list[Measure],
    from_ratio: float,
    grows: bool,
) -> Finding:
    updates = median_update_ratio(training)
    steps = training.recorded_global_steps
    filled = numpy.where(numpy.isfinite(updates), updates, -numpy.inf)
    peak = int(numpy.argmax(filled))
    over = numpy.flatnonzero(filled >= from_ratio)
    top, at = float(updates[peak]), int(steps[peak])
    rates = rates_at(training, at)
    layers = weight_layers(training)
    ratios = numpy.where(layers, numpy.nan_to_num(update_ratio(training)[peak], nan=-1.0, posinf=-1.0), -1.0)
    tensors = training.tensors
    fastest = [tensors[int(i)].name for i in numpy.argsort(-ratios)[:3] if ratios[int(i)] > 0]
    seen = [
        f"It is made with {optimizer_class(training)} at a learning rate of {rate_in_words(rates)}."
        + (_growth(training) if grows else ""),
        consequence or "The loss shows no harm.",
    ]
    if size := update_size(training, numpy.arange(len(steps)) == peak):
        first = " and about 1 at its first steps" if peak < _EARLY else ""
        seen.append(f"The update is {size}{first}.")
    if fastest:
        seen.append(f"The largest update is that of {fastest[0]}, {factor(float(ratios.max()))} times its weights.")
    mark = Mark(label=f"step {count(at)}", x=at)
    stable, rise = stable_learning_rate(training, min(from_ratio, top)), increasing_schedule(training)
    actions = [] if stable is None else _slower(training, stable, _only_early(training, peak, consequence))
    if rise is not None and int(steps[over[0] if len(over) else peak]) >= rise.risen:
        actions = [hold(training, rise)]
    if is_adaptive(training):
        actions.append(
            Action(
                text="Compare the learning rate with the size of the initial weights: the first update changes every "
                "weight by about the learning rate"
            )
        )
    else:
        actions.append(
            Action(
                text="Clip the gradient norm before each step",
                code="torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            )
        )
    return Finding(
        severity=severity,
        confidence=Confidence.HIGH if severity is Severity.CRITICAL or consequence else Confidence.MEDIUM,
        title=f"Oversized update at step {count(at)}" if severity is Severity.NOTE else "Learning rate too high",
        headline=f"At step {count(at)} the update of the median weight layer is {_size(top)} times the size of its "
        "weights",
        explanation=" ".join(seen),
        span=Span(first=int(steps[over[0]]) if len(over) else at, last=int(steps[over[-1]]) if len(over) else at),
        tensors=fastest,
        evidence=[
            update_chart(
                training,
                "The update of the median weight layer over its weights, step by step. Healthy training mostly stays "
                "between 1e-4 and 1e-2; near 1 a step replaces the weights.",
                [mark, Mark(label=setting(from_ratio), y=from_ratio)],
            ),
            loss_chart(training, "The loss over the same steps: see what follows the mark.", [mark]),
        ],
        actions=actions,
        measures=measures,
    )
