"""A recurrent classifier reads its answer after the padding: the words are long past when it is asked.

## What it looks for

Predictions that are made from the last step of a recurrent layer alone, `output[:, -1]` or its last state, over ids
that are not packed by their lengths, in one direction. At least `rows` of the sequences end in padding, which is at
least `share` of all positions and `steps` long in the mean. It is a warning where the training loss is still above
`unlearned` of the best constant prediction's at the end, and a note else: the layer has learned to wait.

## Why it matters

The layer goes on over the padding, and each of these steps overwrites what it knows of the words. How much is left
depends on the length of the text, and gradients have to pass all of the padding.

## What to try

Pack the batch with `nn.utils.rnn.pack_padded_sequence`, and take the last state. Or take each row's output at its own
length. Or pad on the left.

## When it is wrong

Where the id at the end is a part of the sequence, such as silence. Layers that a script writes out itself, several
layers in two directions, compiled code and inputs that are no ids are not seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, number, percent
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.signals.data.last_step import PaddedLastStep, left_of_constant, padded_last_steps
from gradaudit.signals.data.sources import last_step


@dataclass(frozen=True)
class Limits:
    """From where on the padding is in the way."""

    rows: float = 0.5  # of the sequences; where fewer are padded most of the training is as it should be
    share: float = 0.25  # of the positions; batches that are sorted by length have less
    steps: float = 8.0  # of padding; a gated layer carries what it knows over fewer
    unlearned: float = 0.7  # of the constant prediction's loss; one that learns to wait ends below a half


class Padded(Judged, frozen=True):
    """The last step is in the padding."""

    seen: PaddedLastStep
    left: float  # of the loss of a constant prediction; NaN where that is not known
    last_step: int


class Short(Judged, frozen=True):
    """There is little padding before the last step."""

    seen: PaddedLastStep


class NoStep(Judged, frozen=True):
    """No predictions are made from such a step."""


@diagnoser(worst=Severity.WARNING, explains=("no_learning", "no_signal", "vanishing_gradient", "learning_rate_too_low"))
def padded_last_step(run: Run, limits: Limits) -> Iterator[Padded | Short | NoStep | Skipped]:
    """Look at the padding before the step that predictions are made from."""
    if not run.meta.loaders:
        yield Skipped(reason="what batches hold was not recorded",
                      enable="record again with this version, without --no-data")  # fmt: skip
        return
    seen = padded_last_steps(run)
    if seen is None:
        yield NoStep()
    elif seen.one_id and seen.padded >= limits.rows and seen.share >= limits.share and seen.steps >= limits.steps:
        yield Padded(seen, left_of_constant(run), last_step(run))
    else:
        yield Short(seen)


@padded_last_step.tell
def _none(found: NoStep) -> NotApplicable:
    return NotApplicable(reason="no predictions from the last step of a recurrent layer over unpacked ids were seen")


@padded_last_step.tell
def _short(found: Short) -> Clean:
    return Clean(
        measured=f"{percent(found.seen.share)} of {count(found.seen.rows)} sequences' positions stand in a run of one "
        "id at the end"
    )


@padded_last_step.tell
def _padded(found: Padded, limits: Limits) -> Finding:
    seen = found.seen
    unlearned = found.left > limits.unlearned
    learned = (
        f"The training loss ends at {percent(found.left)} of what a constant prediction has."
        if unlearned
        else "The training learns all the same: the layer carries what it needs over the padding."
    )
    return Finding(
        severity=Severity.WARNING if unlearned else Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="State after the padding",
        headline=f"Predictions are made from the last step, behind {number(seen.steps)} steps of padding in "
        f"{percent(seen.padded)} of the rows",
        explanation=f"{percent(seen.share)} of the positions are padding at the end of {count(seen.rows)} sequences "
        "that were looked at. They are not packed, so that the recurrent layer goes on over the padding, and its last "
        f"step is what the loss sees. {learned}",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(seen)],
        actions=[
            Action(
                text="Pack the batch by its lengths, and take the last state",
                code="packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, "
                "enforce_sorted=False)\n_, state = rnn(packed)",
            ),
            Action(
                text="Or take each row's output at its own length",
                code="last = output[torch.arange(len(output)), lengths - 1]",
            ),
        ],
        measures=[
            Measure(quantity="sequences that end in padding", value=seen.padded, comparison=">=",
                    threshold=limits.rows, unit="fraction", option="rows"),
            Measure(quantity="positions that are padding at the end", value=seen.share, comparison=">=",
                    threshold=limits.share, unit="fraction", option="share"),
            Measure(quantity="steps of padding in a padded sequence", value=seen.steps, comparison=">=",
                    threshold=limits.steps, unit="count", option="steps"),
            *([Measure(quantity="training loss / a constant prediction's", value=found.left, comparison=">",
                       threshold=limits.unlearned, option="unlearned")] if unlearned else []),
        ],
    )  # fmt: skip


def _table(seen: PaddedLastStep) -> Numbers:
    return Numbers(
        title="Padding before the last step",
        caption="Of the training batches that were looked at; padding is a run of one id at the end, of four or more.",
        columns=["", "number"],
        cells=[
            ["sequences", count(seen.rows)],
            ["that end in padding", percent(seen.padded)],
            ["positions that are padding", percent(seen.share)],
            ["steps of padding in a padded sequence, in the mean", number(seen.steps)],
        ],
    )
