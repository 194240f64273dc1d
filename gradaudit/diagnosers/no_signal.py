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

import numpy

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.reduce import banded, plain
from gradaudit.evidence.words.outcomes import epochs_in_words
from gradaudit.evidence.words.unclear_loss import unclear_in_words
from gradaudit.evidence.words.validation import more_evaluations, unclear
from gradaudit.evidence.words.wording import count, number, percent, plural
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
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.generalisation import comparison, held_out_rise
from gradaudit.signals.evaluation.held_out_constant import held_out_constant
from gradaudit.signals.evaluation.validation import Evaluations, validation
from gradaudit.signals.gradients.finiteness import non_finite_onset
from gradaudit.signals.loss.progress import divergence as diverges
from gradaudit.signals.loss.progress import epochs as epochs_of
from gradaudit.signals.loss.progress import not_learning
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import Floats

_EVALUATIONS = 3  # one at the start, in the middle and at the end


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("evaluations.mean_loss",),
    minimum_steps=100,
    explains=("overfitting", "premature_plateau"),
)
def no_signal(
    run: Run,
    *,
    prior: float = 0.98,  # as for the training loss; 410 healthy runs went further below, slow recommenders aside
    gain: float = 0.005,  # of the first training loss: still on its way, if it gains more
    epochs: float = 5,  # before that, slow starts and wrong labels look the same
) -> Iterator[Verdict]:
    """Compare the best validation loss with that of a predictor that ignores its input."""
    held_out = validation(run)
    if held_out is None:
        yield unclear(run)
        return
    losses = [training_loss(training) for training in run.trainings]
    judged = [loss for loss in losses if not loss.not_interpretable]
    if not judged:
        yield NotApplicable(reason=unclear_in_words(losses[0].not_interpretable))
        return
    level, loss = held_out_constant(run, judged)
    finite = numpy.isfinite(held_out.losses)
    if math.isnan(level) or finite.sum() < _EVALUATIONS:
        yield Skipped(
            reason="what a model that ignores its input would reach in the evaluations is not known"
            if math.isnan(level)
            else f"only {plural(finite.sum(), 'finite evaluation')} of the {held_out.name} loss recorded, and this "
            "check needs "
            f"{_EVALUATIONS}",
            enable="use one torch.nn.functional loss for training and evaluation"
            if math.isnan(level)
            else more_evaluations(held_out, _EVALUATIONS),
        )
        return
    values = held_out.losses[finite]
    best = float(values.min())
    gained = (float(values[: len(values) // 2 + 1].min()) - best) / loss.first if loss.first > 0 else math.nan
    failed = any(non_finite_onset(training) is not None or diverges(training) is not None for training in run.trainings)
    beside = f"the best {held_out.name} loss is {number(best)}; a constant prediction gives {number(level)}"
    if best < prior * level:
        yield Clean(measured=beside + ("; the run breaks on the way" if failed else ""))
        return
    if failed:
        broken = any(non_finite_onset(training) is not None for training in run.trainings)
        why = "there are NaN or infinities: see non_finite" if broken else "the training loss rose: see divergence"
        yield NotApplicable(reason=f"{beside}, and {why}")
        return
    if not gained < gain:
        yield Skipped(
            reason=f"{beside}, and it is still falling, by {percent(gained)} of the first training loss over the last "
            "half: where it would stop is not known",
            enable="train until the validation loss stops falling",
        )
        return
    train, steps = comparison(run, losses), held_out.steps[finite].astype(float)
    seen = held_out_rise(values, train, steps)
    # What was known before the first evaluation nobody has looked at.
    unseen = seen.clear and seen.best == 0 and bool(train.at(steps[:1])[0] < prior * level)
    yield _finding(loss, held_out, level, best, gained, prior, gain, epochs, rising=seen.clear, unseen=unseen)


def _constant_prediction(loss: TrainingLoss) -> str:
    """The best prediction of a model that ignores its input."""
    if loss.kind == "regression":
        return "predicting the mean of the training targets"
    return "predicting the training labels' frequencies"


def _title(loss: TrainingLoss, *, memorises: bool) -> str:
    if memorises:
        return "Memorisation without generalisation"
    if loss.kind == "regression":
        return "Validation no better than the mean"
    return "Validation loss at chance level"


def _finding(
    loss: TrainingLoss,
    held_out: Evaluations,
    level: float,
    best: float,
    gained: float,
    prior: float,
    gain: float,
    epochs: float,
    *,
    rising: bool,
    unseen: bool,
) -> Finding:
    passed = epochs_of(loss.training)
    late = passed >= epochs
    nothing = not_learning(loss.training)
    # A training loss that falls is no witness: validation labels that are distributed otherwise have another constant.
    sure = late and nothing
    finite = numpy.isfinite(held_out.losses)
    steps: Floats = numpy.maximum(held_out.steps[finite], 0).astype(float)
    after = epochs_in_words(passed)
    memorises = not nothing and loss.last < prior * level
    # As sure as overfitting is of the same curves: what is memorised there never helped at all.
    worse = late and memorises and rising
    if nothing:
        training = "The training loss does not get below it, either."
    elif memorises:
        training = f"The training loss ends at {number(loss.last)}: the model memorises the training examples."
    else:
        training = f"The training loss ends at {number(loss.last)}."
    unseen = unseen and memorises
    if unseen:
        training += (
            f" It already does so at the first evaluation, after step {count(steps[0])}: whether it generalised before "
            "that is not known."
        )
    return Finding(
        severity=Severity.CRITICAL if sure else Severity.WARNING if worse else Severity.NOTE,
        confidence=Confidence.HIGH if sure else Confidence.MEDIUM,
        title=_title(loss, memorises=worse),
        headline=f"The {held_out.name} loss never falls below {number(best)}; {_constant_prediction(loss)} gives "
        f"{number(level)}",
        explanation=f"The best of {plural(int(finite.sum()), 'evaluation')} over "
        f"{plural(len(loss.values), 'step')}{after} is "
        f"{number(best)}. The best constant prediction, of a model that ignores its input, gives {number(level)}. "
        f"{training}"
        + ("" if nothing else " Validation labels with another distribution than the training labels look the same.")
        + ("" if late else " Some healthy models are still there after a few hundred steps."),
        # Where the training loss stays as well, this is its consequence, and begins where that is seen.
        span=Span(first=int(loss.steps[-max(5, len(loss.steps) // 10) if nothing else 0]), last=int(loss.steps[-1])),
        follows=["overfitting"] if unseen else [],
        evidence=[
            Lines(
                title=f"Training and {held_out.name} loss",
                caption="A constant prediction gives the line; a model that uses its input gets below. The "
                "validation loss never does.",
                x_label="step",
                y_label="loss",
                series=[
                    banded(loss.name, loss.steps, loss.values),
                    plain(f"{held_out.name} loss", steps, held_out.losses[finite], role="evaluation"),
                ],
                marks=[Mark(label=f"constant prediction: {number(level)}", y=level, role="reference")],
            )
        ],
        actions=[
            Action(text="Look at ten pairs of input and label as the model gets them: do they belong together?"),
            Action(
                text="Shuffle inputs and labels with one permutation, and sort neither alone",
                code="order = torch.randperm(len(x)); x, y = x[order], y[order]",
            ),
            Action(
                text="Check the shapes that go into the loss: (N, 1) against (N) broadcasts to (N, N)",
                code="assert output.shape == target.shape",
            ),
            *(
                []
                if memorises  # so the input reaches the output
                else [Action(text="Train on 16 examples until the loss is near 0; if that fails, the input does not "
                                  "reach the output")]
            ),
        ],
        measures=[
            ratio((f"best {held_out.name} loss", best), ("a constant prediction's", level), ">=", prior,
                  option="prior"),
            Measure(quantity="gained over the last half of the evaluations, of the first loss", value=gained,
                    comparison="<", threshold=gain, unit="fraction", option="gain"),
            Measure(quantity="epochs, where the training loss does not fall either", value=passed, comparison=">=",
                    threshold=epochs, option="epochs", decides="critical"),
        ],
    )  # fmt: skip
