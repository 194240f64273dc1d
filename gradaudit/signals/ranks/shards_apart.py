"""The shards of a model beside each other: equal ones that should differ, and copies that should be equal."""

import math
from collections.abc import Iterable

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.reading.shards import MergedShards
from gradaudit.schema import TensorFacts
from gradaudit.signals.order_statistics import Floats
from gradaudit.training import signal

_CONSTANT = 1e-3  # of the norm: weights that all have one size are equal on all ranks, whatever the seed


class ShardsApart(msgspec.Struct, frozen=True):
    """What the ranks' own statistics say of the parts of one model."""

    ranks: int
    judged: int  # sharded weights whose shards at step 0 are known and are not constant
    twins: tuple[str, ...]  # of these, those of which two ranks hold equal shards at step 0
    pair: tuple[int, int]  # two such ranks, of the first of them
    still: int  # of the twins, those whose shards are equal at the last recorded step, too
    copies: int  # tensors of which several ranks hold a copy
    differ: tuple[tuple[str, float], ...]  # of these, the relative difference of the norms at the last recorded step
    last: int  # the last recorded step


class CopiesApart(msgspec.Struct, frozen=True):
    """Ranks hold different copies of tensors that are replicated."""

    parts: ShardsApart
    differ: tuple[tuple[str, float], ...]  # name, difference of the norms / norm at the last step; largest first


class EqualShards(msgspec.Struct, frozen=True):
    """Two ranks start with identical shards of at least half of the weights."""

    parts: ShardsApart
    always: bool  # and hold them to the end


class ShardsAsMeant(msgspec.Struct, frozen=True):
    """Shards differ from rank to rank, and copies do not."""

    parts: ShardsApart


@signal
def shards_apart(run: Run) -> ShardsApart | None:
    """None where nothing of several ranks' shards is known. A later attempt is not looked at.

    Shards are equal where norm and largest element are, to the last bit of a float32: of random weights that happens
    once in 10^14. A copy's norms are equal for equal weights, since each rank measures the same sample of it.
    """
    merged = next((part for part in run.parts["tensors"] if isinstance(part, MergedShards)), None)
    if merged is None or len(merged.shards) < 2:
        return None
    steps, tensors = merged.steps_and_tensors
    if not len(steps):
        return None
    facts = {tensor.id: tensor for tensor in run.meta.tensors}
    last = int(steps.max())
    # A damaged run has rows of tensors that it does not list.
    ends = numpy.flatnonzero(((steps == 0) | (steps == last)) & numpy.isin(tensors, list(facts)))
    steps, tensors, shares = steps[ends], tensors[ends], merged.shares[:, ends]
    norms, largest = (merged.apart(name, ends) for name in ("weight_norm", "weight_max_abs"))
    ranks = [shard.rank for shard in merged.shards]
    at_end = {int(tensors[row]): int(row) for row in numpy.flatnonzero(steps == last)}

    def equal(row: int) -> tuple[int, int] | None:
        """Two ranks with equal shards in this row; None without."""
        seen: dict[tuple[float, float, float], int] = {}
        for index, rank in enumerate(ranks):
            key = (float(norms[index, row]), float(largest[index, row]), float(shares[index, row]))
            if not _random(*key):
                continue
            if key in seen:
                return seen[key], rank
            seen[key] = rank
        return None

    judged, twins, pairs, still = 0, [], [], 0
    for row in numpy.flatnonzero(steps == 0).tolist():
        tensor = facts[int(tensors[row])]
        known = sum(_random(*map(float, column)) for column in zip(norms[:, row], largest[:, row], shares[:, row],
                                                                   strict=True))  # fmt: skip
        if not tensor.placements or tensor.role not in ("weight", "embedding") or known < 2:
            continue
        judged += 1
        if (pair := equal(row)) is not None:
            twins.append(tensor.name)
            pairs.append(pair)
            end = at_end.get(tensor.id)
            still += last > 0 and end is not None and equal(end) is not None
    copies, differ = _copies((facts[identifier], norms[:, row]) for identifier, row in at_end.items())
    if not judged and not copies:
        return None
    return ShardsApart(len(ranks), judged, tuple(twins), pairs[0] if pairs else (0, 0), still, copies, differ, last)


def _copies(norms: Iterable[tuple[TensorFacts, Floats]]) -> tuple[int, tuple[tuple[str, float], ...]]:
    """How many tensors several ranks hold a copy of, and those whose norms [ranks] differ, by how much of the norm."""
    copies, differ = 0, []
    for tensor, of_ranks in norms:
        there = of_ranks[numpy.isfinite(of_ranks)]
        if _copied(tensor) and len(there) > 1:
            copies += 1
            if there.max() > there.min():
                differ.append((tensor.name, float((there.max() - there.min()) / there.max())))
    return copies, tuple(sorted(differ, key=lambda one: -one[1]))


def _random(norm: float, largest: float, share: float) -> bool:
    """Whether a shard holds weights that differ in size."""
    return share > 1 and norm > 0 and largest > 0 and abs(norm / (largest * math.sqrt(share)) - 1) > _CONSTANT


def _copied(tensor: TensorFacts) -> bool:
    """Whether every rank is meant to hold the same; experts and their like have weights of their own on each rank."""
    if not tensor.placements:
        return tensor.role == "norm"
    return all(placement.startswith("R") for placement in tensor.placements)


def judged_shards(parts: ShardsApart, copies: float) -> EqualShards | CopiesApart | ShardsAsMeant:
    """Copies are apart where their norms differ by more than `copies` of the norm."""
    if parts.twins and len(parts.twins) >= parts.judged / 2:
        return EqualShards(parts, always=parts.still == len(parts.twins))
    differ = tuple((name, apart) for name, apart in parts.differ if apart > copies)
    return CopiesApart(parts, differ) if differ else ShardsAsMeant(parts)
