"""The padding mask is inverted: attention sees the padding, and none of the words.

## What it looks for

The masks that torch's attention is given in training, against the ids of the embedding call that its keys come from.
Inverted is a sequence where all that is left visible stands at one end and is one and the same id, while what is hidden
is several different ones. It is critical where that holds for `inverted` of the sequences that are partly hidden, with
the same id in all of them and a number of visible positions that differs, in at least `sequences` of them.

## Why it matters

The model reads the length of a text, and none of its words. A sequence without padding has nothing left to look at:
torch's attention gives NaN for it.

## What to try

`key_padding_mask` and `src_key_padding_mask` of torch are true where a position is to be ignored. The attention masks
of Hugging Face, and the `attn_mask` of scaled_dot_product_attention, are true where it is to be seen.

## When it is wrong

Where one kind of token, of which sequences end with different numbers, is all that shall be seen. Not seen are models
without ids, such as those of speech, attention that a script writes out itself, and compiled code.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, percent
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema.loaders import AttendedFacts
from gradaudit.signals.data.attended import inverted_share, masks_of_keys
from gradaudit.signals.data.sources import last_step


@dataclass(frozen=True)
class Limits:
    """From where on a mask hides the wrong side."""

    inverted: float = 0.9  # of the partly hidden sequences; the others are texts of one word, or of one repeated
    sequences: float = 16.0  # partly hidden; of fewer the padding may be all that a mask of something else leaves


class Inverted(Judged, frozen=True):
    """What is visible is the padding."""

    mask: AttendedFacts
    share: float
    last_step: int


class Right(Judged, frozen=True):
    """What is visible is more than one id."""

    mask: AttendedFacts
    share: float


class NoMask(Judged, frozen=True):
    """No mask over the ids of an embedding was seen, or it hides nothing."""


@diagnoser(
    worst=Severity.CRITICAL,
    explains=("no_learning", "no_signal", "overfitting", "premature_plateau", "dead_embedding", "non_finite",
              "learning_rate_too_low", "vanishing_gradient", "layer_imbalance"),
)  # fmt: skip
def inverted_mask(run: Run, limits: Limits) -> Iterator[Inverted | Right | NoMask | Skipped]:
    """Hold what each mask leaves visible against what it hides."""
    if not run.meta.loaders:
        yield Skipped(reason="what batches hold was not recorded",
                      enable="record again with this version, without --no-data")  # fmt: skip
        return
    masks = masks_of_keys(run)
    if not masks:
        yield NoMask()
        return
    worst = max(masks, key=inverted_share)
    share = inverted_share(worst)
    if share >= limits.inverted and worst.partly >= limits.sequences:
        yield Inverted(worst, share, last_step(run))
    else:
        yield Right(worst, share)


@inverted_mask.tell
def _none(found: NoMask) -> NotApplicable:
    return NotApplicable(reason="no padding mask of torch's attention over the ids of an embedding was seen")


@inverted_mask.tell
def _right(found: Right) -> Clean:
    return Clean(
        measured=f"a mask hides part of {count(found.mask.partly)} sequences, and leaves one id alone in "
        f"{percent(found.share)} of them"
    )


@inverted_mask.tell
def _inverted(found: Inverted, limits: Limits) -> Finding:
    mask = found.mask
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Inverted padding mask",
        headline=f"Attention sees the padding only: in {percent(found.share)} of {count(mask.partly)} sequences one "
        "id is all that is visible",
        explanation="The mask hides the words and leaves the padding: what is visible is the same single id in all of "
        f"these sequences, {count(mask.fewest)} to {count(mask.most)} of it at one end, and what is hidden is several "
        "different ones. torch's key_padding_mask is true where a position is ignored; other libraries' masks are true "
        "where it is seen.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(mask)],
        actions=[
            Action(
                text="Invert the padding mask: true where a position is padding",
                code="src_key_padding_mask=attention_mask == 0  # or input_ids == pad_id",
            ),
            Action(
                text="For scaled_dot_product_attention the other way round: true where a position is seen",
                code="F.scaled_dot_product_attention(q, k, v, attn_mask=(input_ids != pad_id)[:, None, None, :])",
            ),
        ],
        measures=[
            Measure(quantity="partly hidden sequences of which one id is visible", value=found.share, comparison=">=",
                    threshold=limits.inverted, unit="fraction", option="inverted"),
            Measure(quantity="partly hidden sequences", value=mask.partly, comparison=">=",
                    threshold=limits.sequences, unit="count", option="sequences"),
        ],
    )  # fmt: skip


def _table(mask: AttendedFacts) -> Numbers:
    return Numbers(
        title="What the mask leaves visible",
        caption="Counts over the training batches that were looked at; which id it is stays with the data.",
        columns=["", "number"],
        cells=[
            ["sequences", count(mask.rows)],
            ["partly hidden", count(mask.partly)],
            ["of which one id alone is visible", count(mask.inverted)],
            ["wholly hidden", count(mask.hidden)],
        ],
    )
