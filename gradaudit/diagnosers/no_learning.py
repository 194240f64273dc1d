"""The model learns nothing: its loss ends no lower than that of a constant prediction.

## What it looks for

The loss of the last tenth of the run, against that of the best constant prediction: the entropy of the labels, or the
variance of the target. At `constant` of it or above, and with a fall of less than 2 % of the first loss over the last
half, the model has learned nothing from its input. It is a note at first, because healthy models may stay there for
some hundred steps, and critical after `epochs` passes over the data. Losses whose level means nothing are not judged,
and neither are runs that end above a constant prediction because they broke (`divergence`, `non_finite`) or are still
falling.

The samples of the loss's input show how. Where the outputs of one batch differ by less than `spread` (a logit, or the
standard deviation of the target, is 1), the prediction is the same for every input: the frequencies of the labels, the
most frequent class first, or the mean of the target. Below a tenth of `spread` the input does not reach the output, and
that is a warning before any number of epochs.

A loss that is one of several terms is at most a warning: it may be meant to stay. Where the other terms have fallen to
a tenth of their share of the objective meanwhile, they outweigh it: in a variational autoencoder that is posterior
collapse.

## Why it matters

The model has learned how often each label occurs, and nothing else.

## What to try

Check that inputs and labels belong together: shuffle both with one permutation, and look at ten pairs by eye. Train on
one batch until its loss is zero; if that fails, the code is at fault, not the data. Check that the input reaches the
output: print how much the outputs differ over a batch.

## When it is wrong

Labels that cannot be predicted from the input look the same. Language models stay at the frequencies of their tokens
for a while, and large recommenders for an epoch.
"""

import math
from collections.abc import Iterator

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.labels import baseline_marks, label_bars
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.constant_prediction import best_constant, find_lost_input, predictions
from gradaudit.evidence.words.crowded_out import crowding_in_words, weigh_terms
from gradaudit.evidence.words.optimizers import label_of, rate_in_words
from gradaudit.evidence.words.outcomes import epochs_in_words
from gradaudit.evidence.words.pairing import LOOK_AT_PAIRS
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.wording import number, percent, plural
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
    ratio,
)
from gradaudit.signals.activations.constant_outputs import Outputs, constant_outputs
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.loss.crowded_out import Rest, crowding
from gradaudit.signals.loss.progress import NO_PROGRESS, constant_level, gained_since_half, not_learning
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.progress import epochs as epochs_of
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats
from gradaudit.signals.updates.learning_rates import peak_rates
from gradaudit.training import Training

_EQUAL = 0.1  # of `spread`; faulty models reach 0.0023 of a logit, healthy ones never less than 0.39


class Limits(msgspec.Struct, frozen=True):
    """From where on a model has learned nothing."""

    constant: float = 0.98  # a model that learned anything is further below; six healthy ones were not at 100 steps
    epochs: float = 5  # before that, slow starts and wrong labels look the same
    spread: float = 0.05  # not measured; probabilities then differ by 1 %


class Ending(Judged, frozen=True):
    """The mean loss of the last tenth of the run, beside that of the best constant prediction."""

    last: float
    constant: float


class NothingLearned(Judged, frozen=True):
    """The loss ends no lower than that of a constant prediction, and has stopped falling."""

    loss: TrainingLoss
    ending: Ending
    gained: float  # over the last half, as a share of the first loss
    epochs: float  # passed; NaN where they are not known
    late: bool  # after so many epochs that a slow start is ruled out
    outputs: Outputs
    other_terms: Rest | None  # of the objective, where they were minimised instead
    may_be_meant: bool  # it is one term of several, and the others have not vanished
    rates: Floats  # [groups] peak learning rates
    span: Span

    @property
    def severity(self) -> Severity:
        """A note where it may yet learn and its outputs are not equal; critical where that is ruled out."""
        if self.late:
            return Severity.WARNING if self.may_be_meant else Severity.CRITICAL
        return Severity.WARNING if self.outputs.equal else Severity.NOTE


class Learned(Judged, frozen=True):
    """The loss ends below that of a constant prediction."""

    ending: Ending
    broke: bool  # on the way, by diverging or by NaN or infinity


class Broken(Judged, frozen=True):
    """The loss does not end below that of a constant prediction, and may have been there before the run broke."""

    ending: Ending
    non_finite: bool  # by NaN or infinity; else it diverged


class Unsettled(Judged, frozen=True):
    """The loss does not end below that of a constant prediction, and has fallen all the same."""

    ending: Ending
    first: float
    falling: bool  # it still is
    gained: float  # over the last half, as a share of the first loss


@diagnoser(per="training", worst=Severity.CRITICAL, needs=("steps",), minimum_steps=100, explains=("no_signal",))
def no_learning(
    training: Training, limits: Limits
) -> Iterator[NothingLearned | Learned | Broken | Unsettled | NotApplicable | Skipped]:
    """Compare the last losses with the best constant predictor's."""
    loss = training_loss(training)
    ending = Ending(loss.last, constant_level(loss))
    if loss.not_interpretable:
        yield NotApplicable(reason=unclear_in_words(loss.not_interpretable))
    elif math.isnan(ending.constant):
        yield Skipped(
            reason="the labels were not counted, so it is not known what a model that ignores its input would reach",
            enable="use a torch.nn.functional loss that takes the labels themselves",
        )
    elif ending.last < limits.constant * ending.constant:
        yield Learned(ending, _broke(training))
    elif _broke(training):
        yield Broken(ending, non_finite_onset(training) is not None)
    elif not not_learning(training):
        gained = gained_since_half(loss)
        yield Unsettled(ending, loss.first, gained > NO_PROGRESS, gained)
    else:
        yield _nothing_learned(loss, ending, limits)


def _broke(training: Training) -> bool:
    return non_finite_onset(training) is not None or diverges(training) is not None


def _nothing_learned(loss: TrainingLoss, ending: Ending, limits: Limits) -> NothingLearned:
    passed, rest = epochs_of(loss.training), crowding(loss)
    return NothingLearned(
        loss=loss,
        ending=ending,
        gained=gained_since_half(loss),
        epochs=passed,
        late=passed >= limits.epochs,
        outputs=constant_outputs(loss, limits.spread, _EQUAL * limits.spread),
        other_terms=rest,
        may_be_meant=bool(loss.one_of_several) and rest is None,
        rates=peak_rates(loss.training),
        span=Span(first=int(loss.steps[-max(5, len(loss.steps) // 10)]), last=int(loss.steps[-1])),
    )


@no_learning.tell
def _learned(found: Learned) -> Clean:
    return Clean(measured=_beside(found.ending) + ("; the loss diverges on the way" if found.broke else ""))


@no_learning.tell
def _broken(found: Broken, training: Training) -> NotApplicable:
    # It may have learned before: what broke it is told of by another finding.
    why = "after NaN or infinities: see non_finite" if found.non_finite else "and it rose: see divergence"
    return NotApplicable(reason=f"{_beside(found.ending)}{label_of(training)}, {why}")


@no_learning.tell
def _unsettled(found: Unsettled, training: Training) -> Skipped:
    beside = f"{_beside(found.ending)}{label_of(training)}"
    if found.falling:
        return Skipped(
            reason=f"{beside}, and it is still falling, by {percent(found.gained)} of its start over the last half",
            enable="train until the loss stops falling",
        )
    return Skipped(
        reason=f"{beside}, and yet it has fallen from {number(found.first)}",
        enable="standardise inputs and targets, so that the loss starts near that of a constant prediction",
    )


def _beside(ending: Ending) -> str:
    last = number(ending.last) if math.isfinite(ending.last) else "NaN or infinity"
    return f"the loss ends at {last}; a constant prediction gives {number(ending.constant)}"


@no_learning.tell
def _finding(found: NothingLearned, training: Training, limits: Limits) -> Finding:
    loss, outputs = found.loss, found.outputs
    name = f"The {loss.facts.function} term" if loss.one_of_several and loss.facts else "The loss"
    return Finding(
        severity=found.severity,
        confidence=Confidence.HIGH if found.late or outputs.equal else Confidence.MEDIUM,
        title=_title(found),
        headline=f"{name} ends at {number(loss.last)}; {best_constant(loss)} gives {number(found.ending.constant)}",
        explanation=_explanation(found),
        span=found.span,
        evidence=[
            loss_chart(
                training,
                "The training loss against that of a constant prediction. A model that uses its input goes below the "
                "lines.",
                baseline_marks(loss, found.ending.constant),
            ),
            *label_bars(
                loss.facts,
                "How often each class was a target: all that the model has learned. Their entropy is the lowest line "
                "above.",
            ),
        ],
        actions=_actions(found),
        measures=_measures(found, limits),
    )


def _title(found: NothingLearned) -> str:
    if found.other_terms is not None:
        return "Posterior collapse" if found.other_terms.latent else "Loss outweighed by other terms"
    if found.outputs.same:
        return "Constant prediction"
    if found.loss.one_of_several:
        return "Loss term does not improve"
    return "Model does not learn" if found.late else "No learning yet"


def _explanation(found: NothingLearned) -> str:
    loss, rest = found.loss, found.other_terms
    said = (
        f"The best constant prediction, of a model that ignores its input, gives {number(found.ending.constant)}. The "
        f"loss starts at {number(loss.first)} and is {number(loss.last)} after {plural(len(loss.values), 'step')}"
        f"{epochs_in_words(found.epochs)}; it has stopped falling."
    )
    # A latent code that is sampled makes outputs differ whatever the input is.
    if rest is None or found.outputs.same:
        said += predictions(loss, found.outputs)
    if rest is not None:
        said += crowding_in_words(loss, rest)
    elif loss.one_of_several:
        said += f" {unclear_in_words(loss.one_of_several)}."
    if not found.late and not found.outputs.equal:
        said += " Some healthy models are still there after a few hundred steps."
    return said


def _actions(found: NothingLearned) -> list[Action]:
    return [
        *(weigh_terms(found.loss) if found.other_terms is not None else []),
        *([find_lost_input(found.outputs)] if found.outputs.same else []),
        LOOK_AT_PAIRS,
        Action(
            text="Train on one batch of 16 until its loss is near 0; if that fails, the code is at fault, not the data",
            code="x, y = next(iter(loader))\nfor _ in range(500): ...",
        ),
        Action(text=f"Try ten times the learning rate of {rate_in_words(found.rates)}, and a tenth of it"),
    ]


def _measures(found: NothingLearned, limits: Limits) -> list[Measure]:
    last, spread = ("last loss", found.ending.last), found.outputs.spread
    return [
        ratio(last, ("a constant prediction's", found.ending.constant), ">=", limits.constant, option="constant"),
        Measure(quantity="epochs", value=found.epochs, comparison=">=", threshold=limits.epochs, option="epochs",
                decides="critical"),
        Measure(quantity="fall over the last half, of the first loss", value=found.gained, comparison="<=",
                threshold=NO_PROGRESS, unit="fraction"),
        Measure(quantity="spread of the outputs over a batch, for a constant prediction", value=spread,
                comparison="<", threshold=limits.spread, option="spread", decides="cause"),
        Measure(quantity="spread of the outputs over a batch", value=spread, comparison="<",
                threshold=_EQUAL * limits.spread, option="spread", decides="warning"),
    ]  # fmt: skip
