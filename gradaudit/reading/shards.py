"""Shards of one tensor on many ranks, merged: every statistic of table `tensors` can be put together from its parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from gradaudit.reading.matrices import Places
from gradaudit.reading.segments import Part, column, table_of
from gradaudit.schema import TABLES, Meta, Table, TensorFacts

if TYPE_CHECKING:
    import numpy
    import pyarrow

    Array = numpy.ndarray[Any, Any]

_ROOT_OF_SQUARES = ("gradient_norm", "weight_norm", "update_norm", "drift_norm")
_GREATEST = ("gradient_max_abs", "weight_max_abs")
_SUM = ("gradient_nan", "gradient_inf")


def probed_by_all(metas: Sequence[Meta]) -> list[TensorFacts]:
    """The tensors of the first of these ranks; `probed` of those that are cut up is that of all shards together.

    A rank that holds a copy adds nothing; -1 where one of the others did not tell.
    """
    held = [{facts.name: facts for facts in meta.tensors} for meta in metas]

    def over_ranks(facts: TensorFacts) -> TensorFacts:
        if not facts.placements:
            return facts
        parts = [tensors[facts.name] for tensors in held if facts.name in tensors]
        counts = [part.probed for part in parts if part.share]
        probed = sum(counts) if min(counts, default=-1) >= 0 else -1
        return msgspec.structs.replace(facts, probed=probed)

    return [over_ranks(facts) for facts in metas[0].tensors]


@dataclass(frozen=True, eq=False)
class Shard:
    """What one rank recorded: `tensors` gives for each of its tensors the first rank's identifier and the share."""

    parts: list[Part]
    tensors: dict[int, tuple[int, int]]
    rank: int = 0

    def column(self, name: str) -> "Array":
        """[rows] of table `tensors`."""
        import numpy

        columns = [column(part, TABLES["tensors"], name) for part in self.parts]
        return numpy.concatenate(columns) if columns else numpy.zeros(0)


@dataclass(frozen=True, eq=False)
class MergedShards:
    """Table `tensors` of all ranks' shards as one part; steps that a needed rank did not record are left out."""

    shards: Sequence[Shard]

    def __len__(self) -> int:
        """Rows of the first shard: no step has more."""
        return sum(map(len, self.shards[0].parts))

    def read(self, table: Table, names: list[str]) -> "pyarrow.Table":
        """The named columns."""
        keys = dict(zip(table.key, self._rows[0], strict=True))
        columns = {name: keys[name] if name in keys else self._combined(name) for name in names}
        return table_of(table, columns)

    @cached_property
    def _rows(self) -> "tuple[Array, Array, Array]":
        """Keys [3, rows]; and for each shard the row it comes from and its share of the elements, [shards, rows]."""
        import numpy

        looked = []
        for shard in self.shards:
            owner, step, tensor = (shard.column(name).astype(numpy.int64) for name in TABLES["tensors"].key)
            place = Places({identifier: first for identifier, (first, _) in shard.tensors.items()})
            looked.append(numpy.stack([owner, step, place(tensor)]))
        base = looked[0]
        # Numbered from 0 on: the product of the keys themselves may be larger than any number.
        ranks = [numpy.unique(numpy.concatenate([keys[axis] for keys in looked])) for axis in range(3)]

        def code(keys: "Array") -> "Array":
            at = [numpy.searchsorted(known, values) for known, values in zip(ranks, keys, strict=True)]
            codes: Array = (at[0] * len(ranks[1]) + at[1]) * len(ranks[2]) + at[2]
            return codes

        wanted = code(base)
        where = numpy.full((len(looked), len(wanted)), -1)
        share = numpy.zeros((len(looked), len(wanted)))
        complete = numpy.ones(len(wanted), dtype=bool)
        for index, (shard, keys) in enumerate(zip(self.shards, looked, strict=True)):
            there = numpy.flatnonzero(keys[2] >= 0)
            codes = code(keys[:, there])
            order = numpy.argsort(codes, kind="stable")
            at = numpy.searchsorted(codes[order], wanted)
            found = (at < len(codes)) & (
                codes[order[numpy.minimum(at, len(codes) - 1)]] == wanted if len(codes) else False
            )
            where[index, found] = there[order[at[found]]]
            held = dict(shard.tensors.values())
            of_tensor = numpy.asarray([held.get(tensor, 0) for tensor in ranks[2].tolist()], dtype=numpy.float64)
            share[index] = of_tensor[numpy.searchsorted(ranks[2], base[2])]
            complete &= found | (share[index] == 0)
        # A step is whole or it is not there: a gap in the middle of one would look like NaN.
        step = wanted // max(1, len(ranks[2]))
        keep = ~numpy.isin(step, step[~complete])
        # An empty tensor is nobody's share; the first rank speaks for it.
        share[0, share.sum(axis=0) == 0] = 1
        return base[:, keep], where[:, keep], share[:, keep]

    def _gathered(self, name: str) -> "Array":
        """[shards, rows] of one column."""
        return self.apart(name, slice(None))

    def apart(self, name: str, rows: "Array | slice") -> "Array":
        """[shards, rows] of one column at these rows, not merged; NaN where a shard has none."""
        import numpy

        where = self._rows[1][:, rows]
        out = numpy.full(where.shape, numpy.nan)
        for index, shard in enumerate(self.shards):
            column = shard.column(name)
            if len(column):
                out[index] = numpy.where(where[index] >= 0, column[where[index]], numpy.nan)
        return out

    @property
    def steps_and_tensors(self) -> "tuple[Array, Array]":
        """[rows] each: the step, and the tensor as the first rank numbers it."""
        return self._rows[0][1], self._rows[0][2]

    @property
    def shares(self) -> "Array":
        """[shards, rows]: elements that the shard holds; 0 of a copy."""
        return self._rows[2]

    @cached_property
    def _has(self) -> "Array":
        """[shards, rows]: whether a gradient was there; asked for with every other column."""
        import numpy

        return numpy.asarray(self._gathered("has_grad") == 1)

    def _combined(self, name: str) -> "Array":
        """[rows]: one column of the whole tensors."""
        import numpy

        share = self._rows[2]
        has = self._has & (share > 0)
        counts = has if name.startswith("gradient_") else share > 0
        merged: Array = numpy.asarray(has.any(axis=0))
        if name == "has_grad":
            return merged
        values = self._gathered(name)
        there = numpy.where(counts, values, 0.0)
        if name in _SUM:
            merged = there.sum(axis=0)
            return merged
        if name in _ROOT_OF_SQUARES:
            merged = numpy.sqrt((there**2).sum(axis=0))
        elif name in _GREATEST:
            merged = there.max(axis=0)
        else:
            merged = self._averaged(name, values, numpy.where(counts, share, 0.0))
        merged = numpy.where(counts.any(axis=0), merged, numpy.nan)
        return merged

    def _averaged(self, name: str, values: "Array", weight: "Array") -> "Array":
        """The mean over the shards, weighted by their elements; of a standard deviation the pooled one."""
        import numpy

        if name in ("gradient_mean", "gradient_std"):
            weight = numpy.maximum(weight - self._gathered("gradient_nan") - self._gathered("gradient_inf"), 0.0)
        weight = numpy.where(weight > 0, weight, 0.0)

        def mean(of: "Array") -> "Array":
            average: Array = numpy.where(weight > 0, weight * of, 0.0).sum(axis=0) / weight.sum(axis=0)
            return average

        with numpy.errstate(all="ignore"):
            if name != "gradient_std":
                return mean(values)
            means = self._gathered("gradient_mean")
            deviation: Array = numpy.sqrt(mean(values**2 + (means - mean(means)) ** 2))
            return deviation
