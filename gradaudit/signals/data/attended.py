"""What attention may look at, held against the ids of its keys and the targets of the loss."""

from typing import NamedTuple

from gradaudit.reading.run import Run
from gradaudit.schema.loaders import AttendedFacts
from gradaudit.signals.data.sources import compared, equal_share, training_sources

_ELSEWHERE = 0.9  # of the targets equal at another shift: the sequence repeats itself, and no shift can be told


class OpenAttention(NamedTuple):
    """Self-attention without a mask over ids of which each position is asked for the next one."""

    facts: AttendedFacts
    equal: float  # share of the targets that are the next id
    targets: int


def open_attentions(run: Run, equal: float, targets: float) -> list[OpenAttention]:
    """Those of the training, where at least so many targets are compared and this share of them is the next id."""
    return [
        OpenAttention(attended, equal_share(facts, 1), compared(facts, 1))
        for source in training_sources(run)
        for facts in source.alignments
        for attended in source.attended
        if attended.embedding == facts.embedding
        # Of an encoder's ids no prediction is made position by position.
        and attended.in_place
        and attended.open
        and not attended.masked
        and equal_share(facts, 1) >= equal
        and max(equal_share(facts, shift) for shift in (0, 2)) < _ELSEWHERE
        and compared(facts, 1) >= targets
    ]


def masks_of_keys(run: Run) -> list[AttendedFacts]:
    """The masks of the training that hide some keys of some sequence, those with most sequences first."""
    known = [one for source in training_sources(run) for one in source.attended if one.partly or one.hidden]
    return sorted(known, key=lambda one: -one.rows)


def inverted_share(mask: AttendedFacts) -> float:
    """The share of the sequences with some keys hidden of which one id alone is left, at one end; 0 of fixed ones.

    A mask that leaves as many keys in every sequence is no padding's: it may be of one place that stands for all.
    """
    known = mask.partly and mask.one_id and mask.most > mask.fewest
    return mask.inverted / mask.partly if known else 0.0
