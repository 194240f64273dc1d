"""The validation data is evaluated in training mode.

## What it looks for

The training flag of the model during each evaluation of the validation split. Training mode in more than `most` of them
is a warning when the model has dropout or batch normalisation.

## Why it matters

With dropout active the reported loss is too high, and noisy. Batch normalisation in training mode uses
the statistics of the evaluation batch, so the result depends on how the batches are cut. It also updates the running
statistics: the validation data leaks into the model.

## What to try

Call `model.eval()` before the evaluation and `model.train()` after it, under `torch.no_grad()`.

## When it is wrong

Monte Carlo dropout keeps dropout active on purpose. A split that the script does not name as validation or test may
not be an evaluation at all; it is reported as a note.
"""

from collections.abc import Iterator

import msgspec

from gradaudit.chart_data import Lines
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.reduce import banded, plain
from gradaudit.evidence.words.modes import mode_dependent
from gradaudit.evidence.words.validation import unclear
from gradaudit.evidence.words.wording import count, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.validation import HELD_OUT, Evaluations, NoValidationLoss, validation
from gradaudit.signals.loss.training_loss import adversarial, training_loss
from gradaudit.signals.run.modes import mode_matters


class Limits(msgspec.Struct, frozen=True):
    """How many evaluations may be made in training mode."""

    most: float = 0.5  # of the evaluations; the flag is exact, and one forgotten call is as good as all


class Modes(Judged, frozen=True):
    """In which mode the validation split was evaluated, how often."""

    training: int  # evaluations
    evaluation: int  # evaluations
    unknown: int  # evaluations before the first step, when no optimizer had named the model

    @property
    def all(self) -> int:
        """All evaluations of the split."""
        return self.training + self.evaluation + self.unknown


class TrainingMode(Judged, frozen=True):
    """The validation data is evaluated in training mode."""

    modes: Modes
    share: float  # of the evaluations whose mode is known, in training mode; a fraction
    held_out: Evaluations
    clear: bool  # the split is named as held out, and the model has modules that depend on the mode
    span: Span


class EvaluationMode(Judged, frozen=True):
    """The validation data is evaluated in evaluation mode."""

    modes: Modes
    held_out: Evaluations


@diagnoser(
    worst=Severity.WARNING, needs=("evaluations.training",), minimum_steps=1, explains=("validation_better_than_train",)
)
def train_mode_evaluation(
    run: Run, limits: Limits
) -> Iterator[TrainingMode | EvaluationMode | NoValidationLoss | NotApplicable | Skipped]:
    """Count the evaluations of the validation split made in training mode."""
    held_out = validation(run)
    if held_out is None:
        yield NoValidationLoss()
        return
    flags = run.evaluations["training"][run.evaluations["split"] == held_out.split].to_numpy()
    if not (flags >= 0).any():
        yield Skipped(
            reason="the mode of the model during evaluation is not known",
            enable="evaluate after the first training step, or use a torch.nn.Module",
        )
        return
    modes = Modes(int((flags == 1).sum()), int((flags == 0).sum()), int((flags < 0).sum()))
    share = modes.training / (modes.training + modes.evaluation)
    matters = mode_matters(run)
    if share <= limits.most:
        yield EvaluationMode(modes, held_out)
    elif matters is False:
        yield NotApplicable(reason="the model has neither dropout nor batch normalisation: its mode changes nothing")
    elif adversarial(run):
        yield NotApplicable(reason="several optimizers minimise different losses in turn, as in adversarial training")
    else:
        yield TrainingMode(
            modes=modes,
            share=share,
            held_out=held_out,
            clear=held_out.split.lower() in HELD_OUT and bool(matters),
            span=Span(first=int(max(held_out.steps.min(), 0)), last=int(max(held_out.steps.max(), 0))),
        )


@train_mode_evaluation.tell
def _no_validation(found: NoValidationLoss, run: Run) -> Skipped:
    return unclear(run)


@train_mode_evaluation.tell
def _clean(found: EvaluationMode) -> Clean:
    modes = found.modes
    return Clean(measured=f"the model is in evaluation mode in {_of_all(modes.evaluation, modes, found.held_out)}")


@train_mode_evaluation.tell
def _finding(found: TrainingMode, run: Run, limits: Limits) -> Finding:
    modes, name = found.modes, found.held_out.name
    return Finding(
        is_measurement_issue=True,
        severity=Severity.WARNING if found.clear else Severity.NOTE,
        confidence=Confidence.CERTAIN if found.clear else Confidence.MEDIUM,
        title="Evaluation in training mode",
        headline=f"The model is in training mode in {_of_all(modes.training, modes, found.held_out)}",
        explanation=f"The model has {mode_dependent(run) or 'modules that are not known'}. In training mode dropout is "
        "active, and batch normalisation uses the statistics of the evaluation batch and updates its running "
        "statistics with them.",
        span=found.span,
        evidence=[_chart(found, run)],
        actions=[
            Action(
                text=f"Switch to evaluation mode for each of the {plural(modes.all, 'evaluation')}, and back after it",
                code="model.eval()\nwith torch.no_grad():\n    ...\nmodel.train()",
            ),
            Action(text=f"Compare the {name} losses of this run with those of others only after that"),
        ],
        measures=[
            Measure(
                quantity="evaluations in training mode",
                value=found.share,
                comparison=">",
                threshold=limits.most,
                unit="fraction",
                option="most",
            )
        ],
    )


def _of_all(evaluations: int, modes: Modes, held_out: Evaluations) -> str:
    """So many of the evaluations, and of how many the mode is not known."""
    unknown = f"; the mode of {count(modes.unknown)} is not known" if modes.unknown else ""
    return f"{count(evaluations)} of {plural(modes.all, 'evaluation')} of the {held_out.name} loss{unknown}"


def _chart(found: TrainingMode, run: Run) -> Lines:
    loss, held_out = training_loss(run.trainings[0]), found.held_out
    return Lines(
        title="Training and validation loss",
        caption=f"The {held_out.name} loss was measured with dropout and batch normalisation as in training, "
        "so its level is not that of the model in use.",
        x_label="step",
        y_label="loss",
        series=[
            banded(loss.name, loss.steps, loss.values),
            plain(f"{held_out.name} loss", held_out.steps, held_out.losses, role="evaluation"),
        ],
    )
