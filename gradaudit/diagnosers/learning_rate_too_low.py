"""The learning rate is too low: the weights hardly change, and the loss hardly falls.

## What it looks for

The update-to-weight ratio of every weight layer and embedding table at its 95th percentile over the steps, and of
these the largest: the fastest part of the model at its fastest steps. Below `slow`, a loss that improved by less than
`still` is critical and by less than `hardly` is a warning. Below `slower_than_usual`, over at least 100 steps, a loss
that improved by less than `little` is a warning. So is, below a ratio of 3.5e-4, one that improved by less than
`scratch` where nothing was trained before: it started at `pretrained` times that of a uniform prediction (in
regression, of a constant) or above, or most parameters start as torch.nn sets them; it is a note while the learning
rate still rises. Where neither holds and the loss starts lower, the model has less to learn, and it is a note. The loss
of the start is the median of up to twenty steps.

## Why it matters

At a ratio of 1e-4 a weight needs ten thousand steps in one direction to change by its own size. The run costs the
same as a good one and ends where it began.

## What to try

Raise the learning rate by factors of ten until the loss falls, and keep the last one before it becomes unstable. Check
that the clip threshold is not far below the gradient norm and that the schedule has left its warmup.

## When it is wrong

Fine-tuning with a small learning rate is meant to move slowly (healthy runs go down to 3.5e-4). A learning rate less
than 30 times too low cannot be distinguished from a run that is too short. Pure bfloat16 weights lose small updates
altogether, and that looks the same. A run in which one step changed half of the median weight layer is left to
`learning_rate_too_high`: that step broke the layers that do not change afterwards.
"""

import math
from collections.abc import Iterator

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.optimizers import label_of, optimizer_line, rate_in_words
from gradaudit.evidence.words.run_numbers import update_size
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, number, percent, setting
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Lines,
    Mark,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
    ratio,
)
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.layers.untrained import MOST, initial_share
from gradaudit.signals.loss.constant_predictor import uniform_loss
from gradaudit.signals.loss.progress import constant_level, divergence
from gradaudit.signals.loss.training_loss import TrainingLoss, adversarial, course
from gradaudit.signals.order_statistics import Floats, largest, median, quantile
from gradaudit.signals.updates.learning_rates import is_adaptive, optimizer_class, peak_rates, same_rate
from gradaudit.signals.updates.ratios import (
    judged_tensors,
    last_half,
    median_update_ratio,
    step_weights,
    update_ratio,
)
from gradaudit.signals.updates.step_size import below_precision, over_eps
from gradaudit.training import Training

_STARTING = 20  # steps at most whose losses are the start: a long run has learned most in its first twentieth
_FROM_SCRATCH = 3.5e-4  # ratio; learning rates 100 times too small stay below it, and fine-tuning with a new head above
_REPLACED = 0.5  # of the weights in one step: `learning_rate_too_high` reports it from there on
_USUAL = 3e-3  # the ratio that the advice aims at: the slowest healthy run from scratch has 2.9e-3


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.update_norm", "tensors.weight_norm"),
    minimum_steps=50,
    explains=("no_learning", "no_signal", "dead_embedding"),
)
def learning_rate_too_low(
    training: Training,
    *,
    slow: float = 2e-4,  # faulty runs stay below 5e-5, healthy ones above 3.5e-4
    still: float = 0.05,  # a learning rate 1,000 times too small leaves 94 % or more of what could be gained
    hardly: float = 0.20,  # of the first loss; separates learning rates 100 times too small from short runs
    slower_than_usual: float = 1e-3,  # healthy runs from scratch stay above 2.9e-3
    little: float = 0.10,  # stricter than `hardly`, because healthy fine-tuning is this slow
    scratch: float = 0.30,  # a learning rate 100 times too small leaves three quarters, at a ratio below 3.5e-4
    pretrained: float = 0.85,  # of ln N; models that start below it have been trained before
) -> Iterator[Verdict]:
    """Judge the 95th percentile of the largest update-to-weight ratio together with the improvement of the loss."""
    chosen = judged_tensors(training)
    loss = course(training)
    if not chosen.any():
        yield NotApplicable(reason="the model has no trained weight matrix that starts away from zero")
        return
    if adversarial(training.run) and loss.not_interpretable:
        yield NotApplicable(reason=unclear_in_words(loss.not_interpretable))
        return
    ratios = update_ratio(training)[:, chosen]
    high = quantile(ratios, 0.95, step_weights(training))
    if not numpy.isfinite(high).any():
        yield Skipped(reason="no finite update of the weights was recorded", enable="record from the first step on")
        return
    top_ratio = float(numpy.nanmax(high))
    start = _start(loss)
    gain = (start - loss.last) / start if start > 0 else math.nan
    uniform, fresh = _untrained(loss), initial_share(training)
    measured = (
        f"the fastest weight tensor changes by {number(top_ratio, 2)} of its size per step (95th percentile of the "
        f"steps), and {_course(loss, start)}"
    )
    broken = non_finite_onset(training)
    if broken is not None and not broken.recovered:
        yield Skipped(
            reason=f"from step {count(broken.step)} on the run holds NaN or infinity, so its updates say nothing",
            enable="fix what non_finite reports",
        )
        return
    # Layers that do not change after such a step were broken by it: dead units, or vanished gradients.
    top = largest(median_update_ratio(training))
    if top >= _REPLACED:
        yield NotApplicable(
            reason=f"{measured}{label_of(training)}, and one step changed the median weight layer by {number(top)} "
            "times its size: see learning_rate_too_high"
        )
        return
    # A term of several, or one whose target moves, may rise while the model learns.
    rises = bool(loss.shapeless) and gain < -still
    if math.isnan(gain) or rises or broken is not None or divergence(training) is not None:
        yield Clean(measured=measured)
        return
    long_enough = len(loss.values) >= 100
    if top_ratio < slow and gain < still:
        severity, option, limit, least, gain_option = Severity.CRITICAL, "slow", slow, still, "still"
    elif top_ratio < slow and gain < hardly:
        severity, option, limit, least, gain_option = Severity.WARNING, "slow", slow, hardly, "hardly"
    elif top_ratio < slower_than_usual and gain < little and long_enough:
        severity, option, limit = Severity.WARNING, "slower_than_usual", slower_than_usual
        least, gain_option = little, "little"
    elif (
        top_ratio < min(_FROM_SCRATCH, slower_than_usual)
        and gain < scratch
        and long_enough
        and (start >= pretrained * uniform or fresh >= MOST)
    ):
        # The first part of a longer run may well end in its warmup.
        severity = Severity.NOTE if _rising(training) else Severity.WARNING
        option, limit = "slower_than_usual", min(_FROM_SCRATCH, slower_than_usual)
        least, gain_option = scratch, "scratch"
    else:
        yield Clean(measured=measured)
        return
    trained_before = start < pretrained * uniform and not fresh >= MOST
    measures = [
        Measure(
            quantity="largest update-to-weight ratio (95th percentile)",
            value=top_ratio,
            comparison="<",
            threshold=limit,
            option=option,
        ),
        Measure(
            quantity="improvement of the loss",
            value=gain,
            comparison="<",
            threshold=least,
            unit="fraction",
            option=gain_option,
        ),
    ]
    if not math.isnan(uniform):
        measures.append(
            ratio(
                ("loss at the start", start),
                ("that of a constant" if loss.kind == "regression" else "that of a uniform prediction", uniform),
                "<",
                pretrained,
                option="pretrained",
                decides="note",
            )
        )
    if fresh >= MOST:
        measures.append(
            Measure(quantity="parameters that start as torch.nn sets them", value=fresh, comparison=">=",
                    threshold=MOST, unit="fraction", decides="warning")
        )  # fmt: skip
    found = Severity.NOTE if trained_before else severity
    yield _finding(training, loss, found, top_ratio, limit, measures, high, start, gain, trained_before)


def _start(loss: TrainingLoss) -> float:
    """The median loss of the first few steps: the first one is that of one batch."""
    return median(loss.values[: _starting(loss)])


def _starting(loss: TrainingLoss) -> int:
    return min(_STARTING, max(5, len(loss.values) // 20))


def _course(loss: TrainingLoss, start: float) -> str:
    """From where to where the loss goes, and over which steps either is taken: one step says little."""
    return (
        f"the loss goes from {number(start)} (median of the first {count(_starting(loss))} steps) to "
        f"{number(loss.last)} (mean of the last {count(max(5, len(loss.values) // 10))})"
    )


def _rising(training: Training) -> bool:
    """Whether the learning rate is at its highest at the last step, and was clearly lower at the middle one."""
    rates = numpy.nan_to_num(training.learning_rates).max(axis=1, initial=0.0)
    return bool(len(rates) and rates[-1] >= rates.max() and rates[len(rates) // 2] < 0.9 * rates[-1])


def _untrained(loss: TrainingLoss) -> float:
    """The loss of a uniform prediction, in regression of a constant; NaN where unknown."""
    if loss.facts is None:
        return math.nan
    return constant_level(loss) if loss.kind == "regression" else uniform_loss(loss.facts, loss.kind)


def _finding(
    training: Training,
    loss: TrainingLoss,
    severity: Severity,
    top_ratio: float,
    limit: float,
    measures: list[Measure],
    high: Floats,
    start: float,
    gain: float,
    trained_before: bool,
) -> Finding:
    chosen = judged_tensors(training)
    tensors = [tensor for tensor, take in zip(training.tensors, chosen, strict=True) if take]
    fastest = tensors[int(numpy.nanargmax(high))].name
    rates = peak_rates(training)
    steps = training.recorded_global_steps
    ratios = update_ratio(training)[:, chosen]
    every = numpy.where(numpy.isfinite(ratios), ratios, -numpy.inf).max(axis=1, initial=-numpy.inf)
    seen = (
        f"Even {fastest}, the fastest tensor, changes by {number(top_ratio)} of its size per step (95th percentile of "
        f"the steps), with {optimizer_class(training)} at a learning rate of {rate_in_words(rates)}. "
        f"{_course(loss, start).capitalize()}: it {_gained(gain)}."
    )
    if size := update_size(training, last_half(training)):
        seen += f" Over the last half of the run updates are {size}."
    if trained_before:
        seen += " At the start the loss is low for an untrained model, so slow fine-tuning may be meant."
    elif severity is Severity.NOTE:
        seen += " The learning rate still rises at the last step, as in a warmup that is not over."
    headline = (
        f"The weights change by {number(top_ratio)} of their size per step, and the loss {_gained(gain)}"
        if top_ratio > 0
        else f"No weight changes in {count(len(loss.values))} steps, and the loss {_gained(gain)}"
    )
    return Finding(
        severity=severity,
        confidence=Confidence.HIGH if severity is Severity.CRITICAL else Confidence.MEDIUM,
        title=_title(rates, top_ratio, severity, trained_before),
        headline=headline,
        explanation=seen,
        span=Span(first=int(loss.steps[0]), last=int(loss.steps[-1])),
        tensors=[fastest],
        evidence=[
            Lines(
                title="Update-to-weight ratio",
                caption=f"The fastest weight layer or embedding at each step, against {setting(limit)}. Models trained "
                "from scratch mostly have one above 1e-3.",
                x_label="step",
                y_label="|update| / |weight|",
                series=[plain("fastest tensor", steps, every)],
                marks=[Mark(label=setting(limit), y=limit)],
                log=True,
            ),
            loss_chart(training, "The loss over the same steps.", []),
        ],
        actions=_actions(training, rates, top_ratio),
        measures=measures,
    )


def _title(rates: Floats, top_ratio: float, severity: Severity, trained_before: bool) -> str:
    if not top_ratio > 0:
        return "Learning rate zero" if rates.size and not rates.any() else "Weights do not change"
    if trained_before:
        return "Fine-tuning with tiny updates"
    return "Warmup not finished" if severity is Severity.NOTE else "Learning rate too low"


def _gained(improvement: float) -> str:
    """What became of the loss, after "the loss"."""
    if math.isnan(improvement):
        return "ends in no number"
    if improvement < -2:
        return f"ends {factor(1 - improvement)} times as high as it starts"
    return f"falls by {percent(improvement)}" if improvement > 0 else f"rises by {percent(-improvement)}"


def _actions(training: Training, rates: Floats, top_ratio: float) -> list[Action]:
    if not (rates > 0).any():
        if numpy.isfinite(rates).any():
            return [
                Action(text="Set a learning rate: it is 0 at every step", code="optimizer.param_groups[0]['lr'] = 1e-3")
            ]
        return [Action(text="Raise the learning rate tenfold until the loss falls")]
    if top_ratio == 0 and not below_precision(training).any():
        return [
            Action(
                text="Check that the optimizer was made from the parameters of the model that is trained",
                code="optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)  # after model.to(device)",
            )
        ]
    actions = []
    clipped, times = _clipping(training)
    below_eps = over_eps(training, last_half(training), clipped=True) < 1
    if clipped > 0.9 and times > 5 and (below_eps or not is_adaptive(training)):
        less = "takes every gradient below the optimizer's eps" if below_eps else (
            f"divides the learning rate by {factor(times)}"
        )  # fmt: skip
        actions.append(
            Action(
                text=f"Raise the clip threshold: it is {factor(times)} times below the gradient norm and cuts "
                f"{percent(clipped)} of the steps, which {less}"
            )
        )
    # Where no weight moves at all, how far the rate is off is not known.
    times_ten = 10.0 ** min(3, max(1, round(math.log10(_USUAL / top_ratio)))) if top_ratio > 0 else 1e3
    actions.append(
        Action(
            text=f"Raise the learning rate from {rate_in_words(rates)} to {rate_in_words(rates * times_ten)}, then up "
            "or down by factors of 3",
            code=_construct(training, rates * times_ten),
        )
    )
    actions.append(Action(text="Or train longer, if the small steps are meant"))
    return actions


def _construct(training: Training, rates: Floats) -> str:
    """The line that makes the optimizer with one learning rate; nothing when its groups differ."""
    if not same_rate(rates):
        return ""
    return optimizer_line(training, lr=rate_in_words(rates))


def _clipping(training: Training) -> tuple[float, float]:
    """The share of steps at which the norm was clipped, and the median norm over the threshold."""
    frame = training.steps
    over = frame["gradient_norm"].to_numpy(dtype=float) / frame["clip_threshold"].to_numpy(dtype=float)
    by_norm = frame["clip_kind"].to_numpy() == 1
    return float((by_norm & (over > 1)).mean()), median(over[by_norm])
