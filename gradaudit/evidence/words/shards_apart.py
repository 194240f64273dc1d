"""Shards that are equal and should differ, and copies that differ and should be equal, in words."""

from gradaudit.evidence.words.wording import count, percent, plural
from gradaudit.findings import Action
from gradaudit.signals.ranks.shards_apart import ShardsApart


def twins_headline(parts: ShardsApart) -> str:
    """Which two ranks have identical shards, and of how many weights."""
    one, other = parts.pair
    return (
        f"Ranks {one} and {other} start with identical shards of {count(len(parts.twins))} of {count(parts.judged)} "
        "weights"
    )


def twins_explanation(parts: ShardsApart, *, always: bool) -> str:
    """Where from, and whether they still are at the last step: `always` of all of them."""
    end = (
        f"At step {count(parts.last)} they still are: the two compute the same, and one of them is redundant."
        if always
        else f"At step {count(parts.last)}, {count(parts.still)} of {count(len(parts.twins))} still are."
    )
    return (
        f"Norm and largest element of the two shards of {parts.twins[0]} are equal to the last bit at step 0: both "
        f"ranks drew their random weights from one seed. {end}"
    )


def seed_apart() -> list[Action]:
    """How shards become weights of their own."""
    return [
        Action(
            text="Give each rank of a tensor-parallel group a seed of its own before it makes its shards",
            code="torch.manual_seed(seed + tensor_parallel_rank)",
        ),
        Action(text="Or make the whole weights on one rank and let torch.distributed.tensor distribute them"),
    ]


def copies_explanation(parts: ShardsApart, name: str, apart: float) -> str:
    """How far the copies of the tensor that differs most are apart."""
    return (
        f"At step {count(parts.last)} the norms of {name} differ by {percent(apart)} over {count(parts.ranks)} ranks, "
        "and every rank should hold the same copy."
    )


def keep_copies() -> list[Action]:
    """How copies stay equal."""
    return [
        Action(text="Sum the gradients of replicated tensors over the tensor-parallel group before each step"),
        Action(text="Clip all ranks by one norm: a rank that does not clip takes other steps"),
    ]


def shards_as_meant(parts: ShardsApart) -> str:
    """What was measured of shards and copies that are as they should be."""
    return (
        f"no half of the {plural(parts.judged, 'sharded weight')} has equal shards at step 0, and copies of "
        f"{plural(parts.copies, 'tensor')} agree at step {count(parts.last)}, over {count(parts.ranks)} ranks"
    )
