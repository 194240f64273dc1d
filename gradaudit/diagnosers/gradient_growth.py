"""The gradient keeps growing while the loss does not improve.

## What it looks for

The norm of the whole gradient before clipping, over the optimizer's own parameters. Its median in the last fifth of the
run at `growth` times that of the second fifth or more, a rank correlation with the step of at least `trend` over the
last three quarters, and a loss that falls by less than `gain` of its first value between the two: then it is a warning.
Where the loss says nothing about progress (adversarial, contrastive, policy gradients, targets that move, one term of
several, unknown ones), a growth of `unclear_growth` times from the first fifth to the last is a note, and of targets
that grow that of so many times theirs. It is a warning when an unknown objective that is never negative, of the only
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

import msgspec
import numpy

from gradaudit.chart_data import Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart, norm_chart
from gradaudit.evidence.words.clipping import clip_norm
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.schedules import hold
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import count, factor, names, number, setting, times
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, Severity, Skipped, Span, ratio
from gradaudit.reading.run import Run
from gradaudit.signals.gradients.norm_growth import NormGrowth, fastest_growing, norm_growth, usable_norms
from gradaudit.signals.loss.moving_target import target_growth
from gradaudit.signals.loss.progress import SMOOTH, TENTHS, divergence
from gradaudit.signals.loss.training_loss import TrainingLoss
from gradaudit.signals.order_statistics import Floats, median, quantile
from gradaudit.signals.updates.increasing_schedule import IncreasingSchedule, increasing_schedule
from gradaudit.signals.updates.learning_rates import peak_rates
from gradaudit.signals.updates.weight_growth import weight_decays
from gradaudit.training import Training

_FELL = 0.9  # of its first steps: an objective that was lower has learned, and TD losses of healthy agents rise after


class Limits(msgspec.Struct, frozen=True):
    """How much the gradient may grow, and how little the loss improve."""

    growth: float = 2.5  # norms grow 2 to 6 times in healthy runs, but then the loss falls
    trend: float = 0.5  # Spearman's: a steady growth and not one burst
    gain: float = 0.01  # of the first loss; less is within the noise of a fifth of a run
    unclear_growth: float = 10.0  # a critic's gradient grew 9 times in healthy adversarial runs
    worse: float = 2.0  # times the start, as in `divergence`; healthy unknown losses end below theirs


class DivergedBefore(Judged, frozen=True):
    """The loss diverges before a slow growth of the gradient could be seen."""

    step: int


class NoGrowth(Judged, frozen=True):
    """The gradient grows too little, or in a burst, or while the loss improves."""

    growth: NormGrowth
    loss_falls: bool


class RisingObjective(Judged, frozen=True):
    """An objective of unknown kind that ends far above its start, and never was below it."""

    start: float  # median of the first fifth
    end: float  # median of the last fifth
    lowest: float  # the lowest tenth, over the first steps


class Growing(Judged, frozen=True):
    """The gradient keeps growing, and the loss does not improve, or does not tell whether it does."""

    growth: NormGrowth
    relative: float  # times; of targets that move over the growth of theirs
    objective: RisingObjective | None
    schedule: IncreasingSchedule | None  # the learning rate that rises with it
    rates: Floats  # [parameter groups] the greatest learning rate
    usual_most: float  # 90th percentile of the norm
    weight_decay: float  # the greatest of all groups; 0 where no layer is normalised
    layers: tuple[str, ...]  # weights whose gradient grows most
    span: Span

    @property
    def severity(self) -> Severity:
        """A note where a loss tells nothing by its shape, and does not rise."""
        return Severity.NOTE if self.growth.loss.shapeless and self.objective is None else Severity.WARNING


@diagnoser(
    per="training",
    worst=Severity.WARNING,
    needs=("steps.gradient_norm",),
    minimum_steps=100,
    explains=("divergence", "non_finite", "loss_spike", "unstable_loss"),
)
def gradient_growth(training: Training, limits: Limits) -> Iterator[Growing | NoGrowth | DivergedBefore | Skipped]:
    """Compare the gradient norm and the loss of the last fifth with those of the second."""
    steps = training.steps["global_step"].to_numpy()
    diverged = divergence(training)
    if diverged is not None and diverged < steps[len(steps) // 5]:
        yield DivergedBefore(diverged)
        return
    growth = norm_growth(training)
    if not growth.known:
        yield Skipped(
            reason="for a fifth of the run the norm of the gradient was not recorded",
            enable="record more often: --every 1",
        )
        return
    loss = growth.loss
    # Errors grow with what is to be predicted, and gradients with the errors.
    least_growth = limits.unclear_growth if loss.shapeless else limits.growth
    relative = growth.times / target_growth(loss.facts) if loss.shapeless else growth.times
    least = limits.gain * abs(loss.first)
    stays = bool(loss.shapeless) or growth.fall < least
    if relative >= least_growth and growth.trend >= limits.trend and stays:
        yield _growing(training, growth, relative, limits)
    else:
        yield NoGrowth(growth, loss_falls=growth.fall >= least)


def _growing(training: Training, growth: NormGrowth, relative: float, limits: Limits) -> Growing:
    steps = training.steps["global_step"].to_numpy()
    return Growing(
        growth=growth,
        relative=relative,
        objective=_rising(training, growth.loss, limits.worse),
        schedule=increasing_schedule(training),
        rates=peak_rates(training),
        usual_most=float(quantile(usable_norms(training).reshape(-1, 1), 0.9)[0]),
        weight_decay=float(weight_decays(training).max(initial=0.0)) if _normalised(training.run) else 0.0,
        layers=fastest_growing(training, least=max(1, growth.times / 2)),
        span=Span(first=int(steps[0 if growth.loss.shapeless else len(steps) // 5]), last=int(steps[-1])),
    )


def _rising(training: Training, loss: TrainingLoss, worse: float) -> RisingObjective | None:
    """The objective, where nothing but its height is known of it, it is the run's only one, and it gets worse.

    Of a loss that is known it is known, too, that it may rise: its targets move, or other terms are in it.
    """
    if loss.kind != "unknown" or len(training.run.trainings) != 1 or not (loss.objective >= 0).all():
        return None
    fifth = len(loss.objective) // 5
    start, end = median(loss.objective[:fifth]), median(loss.objective[len(loss.objective) - fifth :])
    first = median(loss.objective[:SMOOTH])
    lowest = min(median(tenth) for tenth in numpy.array_split(loss.objective, TENTHS))
    lowest = lowest / first if first > 0 else numpy.inf
    return RisingObjective(start, end, lowest) if end > worse * start and lowest >= _FELL else None


def _normalised(run: Run) -> bool:
    """Whether the model has a normalisation layer."""
    return any(module.batch_norm or "Norm" in module.module_class for module in run.meta.modules)


@gradient_growth.tell
def _diverged(found: DivergedBefore) -> Clean:
    return Clean(measured=f"the loss diverges at step {count(found.step)}, before a slow growth could be seen")


@gradient_growth.tell
def _no_growth(found: NoGrowth) -> Clean:
    growth = found.growth
    falls = f", and the loss falls from {number(growth.loss_before)} to {number(growth.loss_after)}"
    return Clean(
        measured=f"in the last fifth of the run the gradient norm is {factor(growth.times)} times that of the "
        f"{_base(growth.loss)} fifth" + (falls if found.loss_falls else "")
    )


@gradient_growth.tell
def _finding(found: Growing, training: Training, limits: Limits) -> Finding:
    growth, rises = found.growth, found.objective is not None
    shapeless = growth.loss.shapeless
    return Finding(
        severity=found.severity,
        confidence=Confidence.MEDIUM,
        title="Rising loss and gradient norm" if rises else "Growing gradient norm",
        headline=f"The gradient norm grows {times(growth.times)} times, from {number(growth.base)} to "
        f"{number(growth.last)}"
        + (", and the objective rises with it" if rises else "")
        + ("" if shapeless else ", and the loss does not improve"),
        explanation=_explanation(found),
        span=found.span,
        tensors=list(found.layers),
        evidence=[
            norm_chart(
                training,
                "The norm of the whole gradient before clipping. In a training that converges it falls or stays.",
                [Mark(label="before", y=growth.base, role="reference")],
            ),
            loss_chart(training, "The training loss over the same steps.", []),
        ],
        actions=_actions(found, training),
        measures=_measures(found, limits),
    )


def _base(loss: TrainingLoss) -> str:
    return "first" if loss.shapeless else "second"


def _explanation(found: Growing) -> str:
    growth, objective = found.growth, found.objective
    shapeless = growth.loss.shapeless
    sentences = [
        f"The median norm is {number(growth.base)} in the {_base(growth.loss)} fifth of the run and "
        f"{number(growth.last)} in the last."
    ]
    if not shapeless:
        sentences.append(f"The loss goes from {number(growth.loss_before)} to {number(growth.loss_after)} meanwhile.")
    else:
        sentences.append(f"The loss does not tell whether the model improves: {unclear_in_words(shapeless)}.")
        if objective is not None:
            sentences.append(f"The objective goes from {number(objective.start)} to {number(objective.end)}.")
    if found.layers:
        sentences.append(f"It grows most in {names(list(found.layers))}.")
    return " ".join(sentences)


def _actions(found: Growing, training: Training) -> list[Action]:
    most = found.usual_most
    slower = (
        hold(training, found.schedule)
        if found.schedule is not None
        else Action(text=f"Divide the learning rate ({rate_in_words(found.rates)}) by 3, or let it decay")
    )
    clip = clip_norm(f"Clip at {number(most, 2)}, the 90th percentile of the norm", most)
    if not found.weight_decay > 0:
        return [slower, clip]
    decay = Action(
        text=f"Lower the weight decay of {setting(found.weight_decay)}: normalised weights that shrink make their "
        "gradient grow"
    )
    return [slower, clip, decay]


def _growth_measure(found: Growing, limits: Limits) -> Measure:
    quantity, shapeless = "gradient norm, last fifth / base", bool(found.growth.loss.shapeless)
    return Measure(
        quantity=quantity if found.relative == found.growth.times else f"{quantity}, over the growth of the targets",
        value=found.relative,
        comparison=">=",
        threshold=limits.unclear_growth if shapeless else limits.growth,
        option="unclear_growth" if shapeless else "growth",
    )


def _measures(found: Growing, limits: Limits) -> list[Measure]:
    growth, loss, objective = found.growth, found.growth.loss, found.objective
    measures = [
        _growth_measure(found, limits),
        Measure(quantity="rank correlation of norm and step", value=growth.trend, comparison=">=",
                threshold=limits.trend, option="trend"),
    ]  # fmt: skip
    if not loss.shapeless:
        measures.append(
            ratio(("fall of the loss", growth.fall), ("first loss", abs(loss.first)), "<", limits.gain, option="gain")
        )
    if objective is not None:
        measures += [
            ratio(("objective, last fifth", objective.end), ("first fifth", objective.start), ">", limits.worse,
                  option="worse", decides="warning"),
            Measure(quantity="objective, lowest tenth / first steps", value=objective.lowest, comparison=">=",
                    threshold=_FELL, decides="warning"),
        ]  # fmt: skip
    return measures
