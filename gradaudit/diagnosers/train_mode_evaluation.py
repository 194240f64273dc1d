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

from gradaudit.diagnoser import diagnoser
from gradaudit.evidence.charts.reduce import banded, plain
from gradaudit.evidence.words.modes import mode_dependent, mode_matters
from gradaudit.evidence.words.validation import unclear
from gradaudit.evidence.words.wording import count, plural
from gradaudit.findings import (
    Action,
    Clean,
    Confidence,
    Finding,
    Lines,
    Measure,
    NotApplicable,
    Severity,
    Skipped,
    Span,
    Verdict,
)
from gradaudit.reading.run import Run
from gradaudit.signals.evaluation.validation import HELD_OUT, validation
from gradaudit.signals.loss.training_loss import adversarial, training_loss
from gradaudit.signals.order_statistics import Integers


@diagnoser(
    worst=Severity.WARNING, needs=("evaluations.training",), minimum_steps=1, explains=("validation_better_than_train",)
)
def train_mode_evaluation(
    run: Run,
    *,
    most: float = 0.5,  # of the evaluations; the flag is exact, and one forgotten call is as good as all
) -> Iterator[Verdict]:
    """Count the evaluations of the validation split made in training mode."""
    held_out = validation(run)
    if held_out is None:
        yield unclear(run)
        return
    frame = run.evaluations[run.evaluations["split"] == held_out.split]
    flags = frame["training"].to_numpy()
    if not (flags >= 0).any():
        yield Skipped(
            reason="the mode of the model during evaluation is not known",
            enable="evaluate after the first training step, or use a torch.nn.Module",
        )
        return
    share = float((flags == 1).sum() / (flags >= 0).sum())
    if share <= most:
        yield Clean(
            measured=f"the model is in evaluation mode in {count((flags == 0).sum())} of "
            f"{plural(len(flags), 'evaluation')} of the {held_out.name} loss{_unknown(flags)}"
        )
        return
    if mode_matters(run) is False:
        yield NotApplicable(reason="the model has neither dropout nor batch normalisation: its mode changes nothing")
        return
    if adversarial(run):
        yield NotApplicable(reason="several optimizers minimise different losses in turn, as in adversarial training")
        return
    named = held_out.split.lower() in HELD_OUT and bool(mode_matters(run))
    loss = training_loss(run.trainings[0])
    yield Finding(
        is_measurement_issue=True,
        severity=Severity.WARNING if named else Severity.NOTE,
        confidence=Confidence.CERTAIN if named else Confidence.MEDIUM,
        title="Evaluation in training mode",
        headline=f"The model is in training mode in {count((flags == 1).sum())} of "
        f"{plural(len(flags), 'evaluation')} of the {held_out.name} loss{_unknown(flags)}",
        explanation=f"The model has {mode_dependent(run) or 'modules that are not known'}. In training mode dropout is "
        "active, and batch normalisation uses the statistics of the evaluation batch and updates its running "
        "statistics with them.",
        span=Span(first=int(max(held_out.steps.min(), 0)), last=int(max(held_out.steps.max(), 0))),
        evidence=[
            Lines(
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
        ],
        actions=[
            Action(
                text=f"Switch to evaluation mode for each of the {plural(len(flags), 'evaluation')}, and back after it",
                code="model.eval()\nwith torch.no_grad():\n    ...\nmodel.train()",
            ),
            Action(text=f"Compare the {held_out.name} losses of this run with those of others only after that"),
        ],
        measures=[
            Measure(
                quantity="evaluations in training mode",
                value=share,
                comparison=">",
                threshold=most,
                unit="fraction",
                option="most",
            )
        ],
    )


def _unknown(flags: Integers) -> str:
    """Of how many evaluations the mode is not known: before the first step no optimizer had named the model."""
    unknown = int((flags < 0).sum())
    return f"; the mode of {count(unknown)} is not known" if unknown else ""
