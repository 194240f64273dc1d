"""Weight decay is too high: it shrinks the weights faster than the gradient makes them grow.

## What it looks for

The cosine of each update with the weights it changes. An update of nothing but decay points straight at zero, at a
cosine of -1. A median over steps 2 to 40 and the weight layers below `cosine`, while the last norm of the median layer
is below `shrunk` of its first, is a warning; it is critical when the model has learned nothing. It is a note where the
loss keeps falling and ends below `learned` of that of the best constant prediction: this run cannot tell what it would
reach with less decay. It is a note, too, where no optimizer group has a weight decay, or one far too small for it:
learning rate times decay, summed over the run, below a tenth of what the weights lost. Then a penalty in the loss does
the same, or weights that started too large.

## Why it matters

Every step takes a share of the weights away, whatever the loss is. Once decay outweighs the gradient the outputs shrink
towards zero, what was learned is lost as fast as it is learned, and the model ends at a constant prediction.

## What to try

A weight decay whose product with the learning rate, summed over the run, stays near 0.1 (with SGD's momentum, 0.1 times
1 - momentum): it then takes a tenth of a weight that nothing else moves. Leave biases and normalisation out. With Adam
use AdamW, since a decay in the gradient is divided by the gradient's own size.

## When it is wrong

The rule is the same for decay in the gradient (SGD, Adam), beside it (AdamW) and in the loss. Healthy runs stay above
-0.23 and keep 0.99 of their norm; normalised layers reach -0.24 late in training, which is why early steps count. A
decay that acts slowly, over thousands of steps, is not seen.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.charts.weight_norms import shrinking_layers
from gradaudit.evidence.words.depth import outcome_sentence
from gradaudit.evidence.words.last_tenth import weights_at_the_end
from gradaudit.evidence.words.optimizers import rate_in_words
from gradaudit.evidence.words.weight_decay import less_decay, less_penalty
from gradaudit.evidence.words.wording import count, number, percent, setting
from gradaudit.findings import (
    Clean,
    Confidence,
    Finding,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    ratio,
)
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.layers.layers import weight_layers, zero_initialised
from gradaudit.signals.loss.nothing_gained import NothingGained, nothing_gained
from gradaudit.signals.loss.progress import constant_level
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, Integers, median, medians, medians_across
from gradaudit.signals.updates.learning_rates import optimizer_class
from gradaudit.signals.updates.ratios import window
from gradaudit.signals.updates.strongest_decay import StrongestDecay, strongest_decay
from gradaudit.signals.updates.weight_growth import norms_over_first
from gradaudit.training import Training

_EARLY = (2, 40)  # steps: late in training decay and gradient balance in healthy normalised layers, too
_FALLS = 0.01  # of the first loss, from the second fifth of the run to the last, as in `gradient_growth`


class Limits(msgspec.Struct, frozen=True):
    """From where on decay outweighs the gradient, and when the model learns all the same."""

    cosine: float = -0.5  # healthy runs stay above -0.23, faulty ones below -0.73
    shrunk: float = 0.5  # of the first norm; healthy layers keep 0.99, faulty ones at most 0.22
    learned: float = 0.96  # of a constant's loss: runs that decay holds down end at 0.99, one that learns at 0.87


class LossLevel(Judged, frozen=True):
    """How far the loss comes beside the best constant prediction's, and whether it falls late in the run."""

    first: float
    over_constant: float  # last loss / that of the best constant prediction; NaN where not known
    late_fall: float  # from the second fifth of the run to the last


class Shrinking(Judged, frozen=True):
    """The early updates point at zero, and the weights end far smaller than they began."""

    cosine: float  # of update and weights, median over the early steps and the layers
    left: float  # last norm / first, median layer
    layers: int
    halved_at: int | None  # the step at which the median layer falls below half of its norm
    decay: StrongestDecay
    loss: LossLevel
    learned_nothing: NothingGained | None
    still_learns: bool  # the loss keeps falling and beats a constant
    columns: Integers  # [shrunk layers] in the matrices of the training, the smallest first
    median_norm: Floats  # [recorded steps] norm over the first, median layer
    span: Span

    @property
    def severity(self) -> Severity:
        """A note where the decay does not explain it, or the loss falls on."""
        if not self.decay.explains or self.still_learns:
            return Severity.NOTE
        return Severity.CRITICAL if self.learned_nothing else Severity.WARNING


class Kept(Judged, frozen=True):
    """The early updates do not point at zero, or the weights keep their size."""

    cosine: float  # of update and weights, median over the early steps and the layers
    left: float | None  # last norm / first, median layer; None where the weights end in NaN or infinities


@diagnoser(
    per="training",
    worst=Severity.CRITICAL,
    needs=("tensors.update_weight_cosine", "tensors.weight_norm"),
    minimum_steps=40,
    explains=(
        "learning_rate_too_high",
        "learning_rate_too_low",
        "dead_embedding",
        "gradient_growth",
        "unstable_loss",
        "premature_plateau",
        "no_learning",
        "no_signal",
        "layer_imbalance",
        "embedding_shrinkage",
    ),
)
def excessive_weight_decay(training: Training, limits: Limits) -> Iterator[Shrinking | Kept | NotApplicable | Skipped]:
    """Judge the direction of the early updates and what is left of the weights."""
    owned = numpy.asarray([t.optimizer == training.id for t in training.tensors], dtype=bool)
    columns = numpy.flatnonzero(weight_layers(training) & owned & ~zero_initialised(training))
    if not len(columns):
        yield NotApplicable(reason="no weight layer that does not start at zero is trained")
        return
    cosines = training.matrix("update_weight_cosine")[window(training, *_EARLY)][:, columns]
    left = medians_across(norms_over_first(training)[:, columns])
    if not numpy.isfinite(cosines).any() or not numpy.isfinite(left).any():
        yield Skipped(
            reason="the directions of the updates at steps 2 to 40 were not recorded, or the weights do not change",
            enable="record from the first step on, more often: --every 1",
        )
        return
    if unknown := weights_at_the_end(training):
        yield unknown
        return
    # The median over steps and layers at once: one layer may well shrink for reasons of its own.
    early = float(medians(cosines.reshape(-1, 1))[0])
    remains = float(left[numpy.isfinite(left)][-1])
    if early < limits.cosine and remains < limits.shrunk:
        yield _shrinking(training, columns, early, remains, limits)
    else:
        broken = non_finite_onset(training)
        # What the norms are where a run breaks says nothing of decay.
        lost = broken is not None and not broken.recovered
        yield Kept(cosine=early, left=None if lost else remains)


def _shrinking(training: Training, columns: Integers, early: float, remains: float, limits: Limits) -> Shrinking:
    steps, left = training.recorded_global_steps, norms_over_first(training)
    middle = medians_across(left[:, columns])
    halved = numpy.flatnonzero(middle < 0.5)
    loss, nothing = _loss_level(training), nothing_gained(training)
    falls = loss.late_fall >= _FALLS * abs(loss.first)
    # The median layer has shrunk, not each one: the others are no part of it.
    ends = numpy.nan_to_num(left[-1], nan=1.0)
    order = [int(i) for i in columns[numpy.argsort(ends[columns])] if ends[i] < limits.shrunk]
    return Shrinking(
        cosine=early,
        left=remains,
        layers=len(columns),
        halved_at=int(steps[halved[0]]) if len(halved) else None,
        decay=strongest_decay(training, columns, remains),
        loss=loss,
        learned_nothing=nothing,
        still_learns=loss.over_constant < limits.learned and nothing is None and falls,
        columns=numpy.asarray(order, dtype=numpy.int64),
        median_norm=middle,
        span=Span(first=int(steps[0]), last=int(steps[-1])),
    )


def _loss_level(training: Training) -> LossLevel:
    loss = training_loss(training)
    constant = math.nan if loss.not_interpretable else constant_level(loss)
    fifth = len(loss.values) // 5
    return LossLevel(
        first=loss.first,
        # Targets that are all the same have a constant at 0.
        over_constant=loss.last / constant if constant > 0 else math.nan,
        late_fall=median(loss.values[fifth : 2 * fifth]) - median(loss.values[-fifth:]),
    )


@excessive_weight_decay.tell
def _kept(found: Kept) -> Clean:
    return Clean(
        measured=f"the early updates have a cosine of {number(found.cosine, 2)} with the weights (-1 is nothing but "
        "decay)"
        + (
            ""
            if found.left is None
            else f", and the weights end at {number(found.left, 2)} times their first norm (median layer)"
        )
    )


@excessive_weight_decay.tell
def _finding(found: Shrinking, training: Training, limits: Limits) -> Finding:
    explains, learns = found.decay.explains, found.still_learns
    return Finding(
        severity=found.severity,
        confidence=Confidence.HIGH if explains else Confidence.MEDIUM,
        title=("Strong weight decay" if learns else "Weight decay too high") if explains else "Shrinking weights",
        headline=_headline(found),
        explanation=_explanation(found, training),
        span=found.span,
        tensors=[training.tensors[column].name for column in found.columns[:20]],
        evidence=[
            shrinking_layers(training, found.columns, found.median_norm),
            loss_chart(training, "The training loss.", []),
        ],
        actions=less_decay(found.decay, training) if explains else less_penalty(),
        measures=_measures(found, limits),
    )


def _headline(found: Shrinking) -> str:
    left, decay = percent(found.left), setting(found.decay.value)
    if found.decay.explains:
        return f"A weight decay of {decay} shrinks the weights to {left} of their initial norm"
    without = f"which a weight decay of {decay} cannot explain" if found.decay.value else "without any weight decay"
    return f"The weights shrink to {left} of their initial norm, {without}"


def _explanation(found: Shrinking, training: Training) -> str:
    decay, rates = setting(found.decay.value), rate_in_words(found.decay.peak_rates)
    halved = "" if found.halved_at is None else f"; it falls below half of it at step {count(found.halved_at)}"
    sentences = [
        f"The updates of steps {_EARLY[0]} to {_EARLY[1]} have a cosine of {number(found.cosine, 2)} with the weights "
        f"(median), where -1 is nothing but decay. The median of {count(found.layers)} weight layers ends at "
        f"{percent(found.left)} of its initial norm{halved}."
    ]
    if found.decay.explains:
        sentences.append(f"{optimizer_class(training)} has a weight decay of {decay} at a learning rate of {rates}.")
    elif found.decay.value:
        sentences.append(
            f"A weight decay of {decay} at a learning rate of {rates} is far too small for that: a penalty in the loss "
            "shrinks the weights, or code that sets their size."
        )
    else:
        sentences.append(
            "These layers have no weight decay: a penalty in the loss shrinks them, or code that sets their size."
        )
    if found.learned_nothing:
        sentences.append(outcome_sentence(found.learned_nothing))
    elif found.still_learns:
        sentences.append(
            f"The loss ends at {percent(found.loss.over_constant)} of the best constant prediction's, so the model "
            "still learns. Only a run with less decay can tell what the decay costs."
        )
    return " ".join(sentences)


def _measures(found: Shrinking, limits: Limits) -> list[Measure]:
    loss = found.loss
    measures = [
        Measure(quantity="cosine of update and weights, steps 2 to 40", value=found.cosine, comparison="<",
                threshold=limits.cosine, option="cosine"),
        Measure(quantity="last norm / first, median layer", value=found.left, comparison="<",
                threshold=limits.shrunk, option="shrunk"),
    ]  # fmt: skip
    if not math.isnan(loss.over_constant):
        measures += [
            Measure(quantity="last loss / constant prediction's", value=loss.over_constant, comparison="<",
                    threshold=limits.learned, option="learned", decides="note"),
            ratio(("fall of the loss, second fifth of the run to the last", loss.late_fall),
                  ("first loss", abs(loss.first)), ">=", _FALLS, decides="note"),
        ]  # fmt: skip
    return measures
