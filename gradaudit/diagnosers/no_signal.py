"""The model never does better on validation data than a constant prediction.

## What it looks for

The validation loss against that of a constant prediction, the training labels' distribution: their entropy, or the
variance of the target. When its best value is at `prior` of that or above, and it fell by less than `gain` of the first
training loss over the last half of the evaluations, nothing that the model has learned generalises. One that is above
and still falling, or that broke, is not judged. It is a note, since validation labels may be distributed otherwise and
some healthy models start slowly. After `epochs` passes over the data it is critical where the training loss does not
get below that, either, and a warning where the training loss does and the validation loss rises as `overfitting` says:
what the model memorised then never generalised.

## Why it matters

The training loss may still fall, because a model can memorise examples. Where the gradients and updates look normal,
only the validation loss shows that inputs and labels do not belong together. Where they do not, as behind dead layers
or a vanishing gradient, this is their consequence.

## What to try

Look at ten pairs of input and label by eye, as the model gets them. Shuffle inputs and labels with one permutation.
Check that no loss broadcasts (N, 1) against (N), that the input reaches the output, and that validation data goes
through the same preprocessing.

## When it is wrong

Labels that nothing in the input predicts look the same, and so does a validation set of another distribution: 5 % of
one class in training and half of that of validation. A model that has memorised its data before the first evaluation is
above that loss from there on. Where it rises from there, this is reported as a consequence of `overfitting`.
"""

import math
from collections.abc import Iterator

import msgspec
import numpy

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.constant_prediction import against_constant
from gradaudit.evidence.words.outcomes import epochs_in_words
from gradaudit.evidence.words.pairing import check_pairs
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.validation import more_evaluations, unclear
from gradaudit.evidence.words.wording import count, number, percent, plural
from gradaudit.findings import Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span, ratio
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.held_out_constant import held_out_constant
from gradaudit.signals.evaluation.memorisation import Memorisation, memorisation
from gradaudit.signals.evaluation.validation import Evaluations, NoValidationLoss, validation
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.progress import epochs as epochs_of
from gradaudit.signals.loss.progress import not_learning
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats

_EVALUATIONS = 3  # one at the start, in the middle and at the end


class Limits(msgspec.Struct, frozen=True):
    """From where on a validation loss shows no signal."""

    prior: float = 0.98  # as for the training loss; 410 healthy runs went further below, slow recommenders aside
    gain: float = 0.005  # of the first training loss: still on its way, if it gains more
    epochs: float = 5  # before that, slow starts and wrong labels look the same


class Best(Judged, frozen=True):
    """The lowest validation loss beside what a model that ignores its input reaches."""

    split: str  # as `Evaluations.name`
    loss: float
    constant: float  # the loss of the best constant prediction


class NoSignal(Judged, frozen=True):
    """The validation loss is never below that of a constant prediction."""

    best: Best
    training_loss: TrainingLoss
    steps: Floats  # [finite evaluations] global steps, 0 before the first
    losses: Floats  # [finite evaluations] validation losses
    gained: float  # over the last half of the evaluations, as a share of the first training loss
    epochs: float  # passed; NaN where they are not known
    late: bool  # after so many epochs that a slow start is ruled out
    learned_nothing: bool  # the training loss does not get below that of a constant prediction, either
    memorisation: Memorisation | None  # where the training loss does
    never_generalised: bool  # what is memorised, late, while the validation loss rises
    span: Span

    @property
    def sure(self) -> bool:
        """Whether a slow start is ruled out, and the training loss agrees."""
        return self.late and self.learned_nothing

    @property
    def severity(self) -> Severity:
        """Critical where it is sure; a warning where what is memorised never generalised."""
        return Severity.CRITICAL if self.sure else Severity.WARNING if self.never_generalised else Severity.NOTE


class Signal(Judged, frozen=True):
    """The validation loss is below that of a constant prediction."""

    best: Best
    broke: bool  # the run diverges, or holds NaN or infinity


class Broken(Judged, frozen=True):
    """The validation loss is not below that of a constant prediction, in a run that broke."""

    best: Best
    non_finite: bool  # by NaN or infinity; else it diverged


class StillFalling(Judged, frozen=True):
    """The validation loss is not below that of a constant prediction yet."""

    best: Best
    gained: float  # over the last half of the evaluations, as a share of the first training loss


class FewEvaluations(Judged, frozen=True):
    """Too few finite validation losses to judge."""

    finite: int
    held_out: Evaluations


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("evaluations.mean_loss",),
    minimum_steps=100,
    explains=("overfitting", "premature_plateau"),
)
def no_signal(
    run: Run, limits: Limits
) -> Iterator[NoSignal | Signal | Broken | StillFalling | FewEvaluations | NoValidationLoss | NotApplicable | Skipped]:
    """Compare the best validation loss with that of a predictor that ignores its input."""
    held_out = validation(run)
    losses = [training_loss(training) for training in run.trainings]
    judged = [loss for loss in losses if not loss.not_interpretable]
    if held_out is None:
        yield NoValidationLoss()
        return
    if not judged:
        yield NotApplicable(reason=unclear_in_words(losses[0].not_interpretable))
        return
    level, loss = held_out_constant(run, judged)
    finite = int(numpy.isfinite(held_out.losses).sum())
    if math.isnan(level):
        yield Skipped(
            reason="what a model that ignores its input would reach in the evaluations is not known",
            enable="use one torch.nn.functional loss for training and evaluation",
        )
    elif finite < _EVALUATIONS:
        yield FewEvaluations(finite, held_out)
    else:
        yield _compared(run, loss, held_out, level, limits)


def _compared(
    run: Run, loss: TrainingLoss, held_out: Evaluations, level: float, limits: Limits
) -> NoSignal | Signal | Broken | StillFalling:
    values = held_out.losses[numpy.isfinite(held_out.losses)]
    best = Best(held_out.name, float(values.min()), level)
    gained = (float(values[: len(values) // 2 + 1].min()) - best.loss) / loss.first if loss.first > 0 else math.nan
    non_finite = any(non_finite_onset(training) is not None for training in run.trainings)
    broke = non_finite or any(diverges(training) is not None for training in run.trainings)
    if best.loss < limits.prior * level:
        return Signal(best, broke)
    if broke:
        return Broken(best, non_finite)
    if not gained < limits.gain:
        return StillFalling(best, gained)
    return _no_signal(loss, held_out, best, gained, limits)


def _no_signal(loss: TrainingLoss, held_out: Evaluations, best: Best, gained: float, limits: Limits) -> NoSignal:
    finite = numpy.isfinite(held_out.losses)
    memorised, passed = memorisation(loss, held_out, limits.prior * best.constant), epochs_of(loss.training)
    # A training loss that falls is no witness: validation labels that are distributed otherwise have another constant.
    learned_nothing, late = not_learning(loss.training), passed >= limits.epochs
    # Where the training loss stays as well, this is its consequence, and begins where that is seen.
    first = -max(5, len(loss.steps) // 10) if learned_nothing else 0
    return NoSignal(
        best=best,
        training_loss=loss,
        steps=numpy.maximum(held_out.steps[finite], 0).astype(float),
        losses=held_out.losses[finite],
        gained=gained,
        epochs=passed,
        late=late,
        learned_nothing=learned_nothing,
        memorisation=memorised,
        # As sure as overfitting is of the same curves: what is memorised there never helped at all.
        never_generalised=late and memorised is not None and memorised.rising,
        span=Span(first=int(loss.steps[first]), last=int(loss.steps[-1])),
    )


@no_signal.tell
def _no_validation_loss(found: NoValidationLoss, run: Run) -> Skipped:
    return unclear(run)


@no_signal.tell
def _few(found: FewEvaluations) -> Skipped:
    return Skipped(
        reason=f"only {plural(found.finite, 'finite evaluation')} of the {found.held_out.name} loss recorded, and this "
        f"check needs {_EVALUATIONS}",
        enable=more_evaluations(found.held_out, _EVALUATIONS),
    )


@no_signal.tell
def _signal(found: Signal) -> Clean:
    return Clean(measured=_beside(found.best) + ("; the run breaks on the way" if found.broke else ""))


@no_signal.tell
def _broken(found: Broken) -> NotApplicable:
    nan, rose = "there are NaN or infinities: see non_finite", "the training loss rose: see divergence"
    return NotApplicable(reason=f"{_beside(found.best)}, and {nan if found.non_finite else rose}")


@no_signal.tell
def _still_falling(found: StillFalling) -> Skipped:
    return Skipped(
        reason=f"{_beside(found.best)}, and it is still falling, by {percent(found.gained)} of the first training loss "
        "over the last half: where it would stop is not known",
        enable="train until the validation loss stops falling",
    )


def _beside(best: Best) -> str:
    return f"the best {best.split} loss is {number(best.loss)}; a constant prediction gives {number(best.constant)}"


@no_signal.tell
def _finding(found: NoSignal, limits: Limits) -> Finding:
    best = found.best
    regression = found.training_loss.kind == "regression"
    constant = "predicting the mean of the training targets" if regression else (
        "predicting the training labels' frequencies")  # fmt: skip
    chance = "Validation no better than the mean" if regression else "Validation loss at chance level"
    return Finding(
        severity=found.severity,
        confidence=Confidence.HIGH if found.sure else Confidence.MEDIUM,
        title="Memorisation without generalisation" if found.never_generalised else chance,
        headline=f"The {best.split} loss never falls below {number(best.loss)}; {constant} gives "
        f"{number(best.constant)}",
        explanation=_explanation(found),
        span=found.span,
        follows=["overfitting"] if found.memorisation and found.memorisation.unseen else [],
        evidence=[against_constant(found.training_loss, best.split, found.steps, found.losses, best.constant)],
        actions=check_pairs(reaches_output=found.memorisation is not None),
        measures=[
            ratio((f"best {best.split} loss", best.loss), ("a constant prediction's", best.constant), ">=",
                  limits.prior, option="prior"),
            Measure(quantity="gained over the last half of the evaluations, of the first loss", value=found.gained,
                    comparison="<", threshold=limits.gain, unit="fraction", option="gain"),
            Measure(quantity="epochs, where the training loss does not fall either", value=found.epochs,
                    comparison=">=", threshold=limits.epochs, option="epochs", decides="critical"),
        ],
    )  # fmt: skip


def _explanation(found: NoSignal) -> str:
    loss = found.training_loss
    sentences = [
        f"The best of {plural(len(found.losses), 'evaluation')} over {plural(len(loss.values), 'step')}"
        f"{epochs_in_words(found.epochs)} is {number(found.best.loss)}. The best constant prediction, of a model that "
        f"ignores its input, gives {number(found.best.constant)}."
    ]
    if found.learned_nothing:
        sentences.append("The training loss does not get below it, either.")
    elif found.memorisation:
        sentences.append(f"The training loss ends at {number(loss.last)}: the model memorises the training examples.")
    else:
        sentences.append(f"The training loss ends at {number(loss.last)}.")
    if found.memorisation and found.memorisation.unseen:
        sentences.append(
            f"It already does so at the first evaluation, after step {count(found.steps[0])}: whether it generalised "
            "before that is not known."
        )
    if not found.learned_nothing:
        sentences.append("Validation labels with another distribution than the training labels look the same.")
    if not found.late:
        sentences.append("Some healthy models are still there after a few hundred steps.")
    return " ".join(sentences)
