"""The end token is never learned: its labels are ignored together with the padding.

## What it looks for

The token id at the end of padded sequences whose labels are ignored. Where it is the end token, too, it stands at the
end of every sequence, the longest of a batch included, where there is nothing to pad; or the attention mask says that
it is not padding; or it stands between other tokens. Where all batches are of one length, no other token ends the
sequences before it, either. It is a warning where none of its labels counts, in at least `batches` batches that were
looked at.

## Why it matters

The model is never told where a text ends. What it generates does not stop.

## What to try

Give the padding an id of its own. Or ignore labels by the attention mask, and not by the id.

## When it is wrong

Where texts shall not end, or where the token between others is one that the model shall not learn to write. Only
batches on the CPU are seen: with ids and labels of one shape, such as those of a collator for language models, or with
ids that the targets of the loss are the next ones of.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema.loaders import PaddingFacts
from gradaudit.signals.data.sources import last_step, training_sources

_EVERY = 0.9  # of the batches: their longest sequence ends with exactly one such token; padding to a multiple has less
_WIDTHS = 3  # different lengths: batches are padded to their longest, and not to a fixed length


@dataclass(frozen=True)
class Limits:
    """From where on it is the rule."""

    batches: float = 4.0  # looked at; fewer may end with the same token by chance


class Ignored(Judged, frozen=True):
    """The labels of the end token are ignored wherever it stands."""

    facts: PaddingFacts
    by_mask: bool  # the attention mask says that it is no padding
    by_length: bool  # the longest sequences end with it, too
    last_step: int


class Learned(Judged, frozen=True):
    """The ignored token is padding alone, or its labels count."""

    batches: int
    learned: int
    padded: int


class NoLabels(Judged, frozen=True):
    """No batch had ids, and labels of the same shape some of which are ignored."""


@diagnoser(worst=Severity.WARNING)
def unlearned_token(run: Run, limits: Limits) -> Iterator[Ignored | Learned | NoLabels | Skipped]:
    """Look at the token at the end of sequences whose labels are ignored."""
    if not run.meta.loaders:
        yield Skipped(reason="what batches hold was not recorded",
                      enable="record again with this version, without --no-data")  # fmt: skip
        return
    known = [source.padding for source in training_sources(run) if source.padding.batches]
    if not known:
        yield NoLabels()
        return
    facts = max(known, key=lambda one: one.batches)
    by_mask = facts.attended > 0
    always = facts.padded == facts.batches and facts.ended == facts.rows
    always = always and (facts.widths >= _WIDTHS or facts.varied >= _EVERY * facts.padded)
    by_length = always and facts.shortest >= _EVERY * facts.padded
    ignored = facts.learned == 0 and facts.one_id and facts.padded >= limits.batches
    if ignored and (by_mask or by_length):
        yield Ignored(facts, by_mask, by_length, last_step(run))
    else:
        yield Learned(facts.batches, facts.learned, facts.padded)


@unlearned_token.tell
def _no_labels(found: NoLabels) -> NotApplicable:
    return NotApplicable(reason="no batch held token ids beside labels of their shape, some of which are ignored")


@unlearned_token.tell
def _learned(found: Learned) -> Clean:
    return Clean(
        measured=f"{count(found.padded)} of {count(found.batches)} batches end with an ignored token, of which "
        f"{count(found.learned)} labels count"
    )


@unlearned_token.tell
def _ignored(found: Ignored, limits: Limits) -> Finding:
    facts = found.facts
    whose = (
        f"The attention mask says of {count(facts.attended)} of these positions that they are no padding."
        if found.by_mask
        else "It ends the longest sequence of a batch, too, where there is nothing to pad."
    )
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="End token never learned",
        headline=f"The token that ends {count(facts.ended)} of {count(facts.rows)} sequences is never a target: 0 "
        "labels of it count",
        explanation="The labels of the last token are ignored in all batches, as those of padding are: padding and end "
        f"token share one id. {whose} The model never learns where a text ends, and what it generates does not stop.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(facts)],
        actions=[
            Action(
                text="Give the padding a token of its own",
                code='tokenizer.add_special_tokens({"pad_token": "<pad>"})\n'
                "model.resize_token_embeddings(len(tokenizer))",
            ),
            Action(
                text="Or ignore by the attention mask, and not by the id",
                code="labels = input_ids.masked_fill(attention_mask == 0, -100)",
            ),
        ],
        measures=[
            Measure(quantity="batches that end with it", value=facts.padded, comparison=">=",
                    threshold=limits.batches, unit="count", option="batches"),
            Measure(quantity="labels of it that count", value=facts.learned, comparison="<=", threshold=0,
                    unit="count"),
        ],
    )  # fmt: skip


def _table(facts: PaddingFacts) -> Numbers:
    return Numbers(
        title="The ignored token at the end of sequences",
        caption="Counts over the batches that were looked at; which token it is stays with the data.",
        columns=["", "number"],
        cells=[
            ["sequences", count(facts.rows)],
            ["sequences that end with it", count(facts.ended)],
            ["its positions that the attention mask keeps", count(facts.attended)],
            ["batches", count(facts.padded)],
            ["batches whose longest sequence ends with one of it", count(facts.shortest)],
            ["labels of it that are not ignored", count(facts.learned)],
        ],
    )
