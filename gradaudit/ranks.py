"""The processes of one run put together: shards of all ranks become whole tensors, a later attempt follows an earlier.

Nothing is read before a column is asked for, and then column by column.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gradaudit.schema import TABLES, Facts, Meta, Table, arrow_schema
from gradaudit.segments import Part, clean_text, parts, read

if TYPE_CHECKING:
    import numpy
    import pyarrow

    Array = numpy.ndarray[Any, Any]

_ROOT_OF_SQUARES = ("gradient_norm", "weight_norm", "update_norm", "drift_norm")
_GREATEST = ("gradient_max_abs",)
_SUM = ("gradient_nan", "gradient_inf")


@dataclass(frozen=True, eq=False)
class Processes:
    """What the processes of a run wrote, as one run."""

    meta: Meta  # of the last attempt, with the losses of all of them
    parts: dict[str, tuple[Part, ...]]
    attempts: tuple[int, ...]  # the global step at which each attempt begins


def together(path: Path, first: Meta, problems: list[str]) -> Processes:
    """Read what every process wrote; `problems` gains what is damaged, missing or was not merged."""
    others = _others(path, problems)
    attempts = [first]
    for meta in (meta for meta in others if meta.rank == first.rank):
        if _follows(attempts[-1], meta):
            attempts.append(meta)
        else:
            problems.append(_left_out(meta, "it did not go on where the one before it ended"))
    problems += [
        _left_out(meta, "it is a later process of a rank that torchrun did not restart")
        for meta in others
        if meta.rank != first.rank and meta.attempt and not meta.restarts
    ]
    known = {facts.name for facts in first.tensors}
    for meta in others:
        lone = sum(facts.name not in known for facts in meta.tensors)
        if meta.rank != first.rank and lone:
            problems.append(
                f"{_folder(meta)} trains {lone:,} tensors that rank {first.rank} lacks; they were not merged"
            )
    found: dict[str, list[Part]] = {name: [] for name in TABLES}
    losses, starts = list(first.losses), [0]
    for number, meta in enumerate(attempts):
        own: dict[str, list[Part]] = {name: list(parts(path, name, meta, problems)) for name in TABLES}
        if meta.world_size > 1 and any(facts.placements for facts in meta.tensors):
            own["tensors"] = _merged(path, meta, others, own["tensors"], problems)
        if number:
            shift = _shift(found, meta, losses)
            starts.append(shift.global_steps)
            own = {name: [Later(part, shift) for part in mine] for name, mine in own.items()}
        for name, mine in own.items():
            found[name] += mine
    whole = msgspec.structs.replace(attempts[-1], losses=losses, started=first.started, name=first.name)
    return Processes(whole, {name: tuple(mine) for name, mine in found.items()}, tuple(starts))


def _others(path: Path, problems: list[str]) -> list[Meta]:
    """The facts of every process but the first one of rank 0, by rank and attempt."""
    metas = []
    for folder in path.glob("rank*"):
        file = folder / "rank.json"
        if not folder.is_dir() or not (file.exists() or "." in folder.name):
            continue
        try:
            metas.append(msgspec.json.decode(file.read_bytes(), type=Meta))
        except (OSError, msgspec.MsgspecError):
            problems.append(f"{clean_text(folder.name)} has no readable rank.json and was not merged")
    return sorted(metas, key=lambda meta: (meta.rank, meta.attempt))


def _folder(meta: Meta) -> str:
    return f"rank{meta.rank:05d}" + (f".{meta.attempt}" if meta.attempt else "")


def _left_out(meta: Meta, reason: str) -> str:
    return f"{_folder(meta)} was written by another process and was not merged: {reason}"


def _follows(before: Meta, meta: Meta) -> bool:
    """Whether `meta` is the same training, begun again after `before` had ended."""
    if [(t.name, t.shape) for t in before.tensors] != [(t.name, t.shape) for t in meta.tensors]:
        return False
    ended = before.state in ("failed", "interrupted") and before.ended <= meta.started
    return meta.restarts > before.restarts or ended


def _merged(path: Path, meta: Meta, others: Sequence[Meta], own: list[Part], problems: list[str]) -> list[Part]:
    """One part in which the shards of all ranks are whole tensors."""
    shards = [Shard(own, {facts.id: (facts.id, _share(facts, True)) for facts in meta.tensors})]
    identifiers = {facts.name: facts.id for facts in meta.tensors}
    for other in others:
        if other.rank == meta.rank or other.restarts != meta.restarts:
            continue
        table = {f.id: (identifiers[f.name], _share(f, False)) for f in other.tensors if f.name in identifiers}
        shards.append(Shard(list(parts(path, "tensors", other, problems)), table))
    covered = dict.fromkeys(identifiers.values(), 0)
    for shard in shards:
        for identifier, share in shard.tensors.values():
            covered[identifier] += share
    short = [facts for facts in meta.tensors if facts.placements and covered[facts.id] != facts.elements]
    if short:
        problems.append(
            f"files of {meta.world_size - len(shards)} of {meta.world_size} ranks are missing: statistics of "
            f"{len(short):,} sharded tensors ({clean_text(short[0].name)}, ...) are those of the shards that were found"
        )
    return [Merged(shards)]


def _share(facts: Any, first: bool) -> int:
    """Elements of the tensor that this rank's statistics stand for; a whole tensor is the first rank's."""
    if facts.placements:
        return int(facts.share)
    return int(facts.elements) if first else 0


def _shift(found: dict[str, list[Part]], meta: Meta, losses: list[Any]) -> "Shift":
    """How far the keys of a later attempt move; losses it brings are added to `losses`."""

    def after(table: str, column: str) -> Any:
        values = [_column(part, TABLES[table], column) for part in found[table]]
        return max((float(array.max()) for array in values if len(array)), default=-1.0)

    steps: dict[int, int] = {}
    for part in found["steps"]:
        for optimizer, step in zip(
            *(_column(part, TABLES["steps"], name).tolist() for name in ("optimizer", "step")), strict=True
        ):
            steps[optimizer] = max(steps.get(optimizer, 0), step + 1)
    places = {}
    for facts in meta.losses:
        same = [index for index, known in enumerate(losses) if _kind(known) == _kind(facts)]
        places[facts.id] = same[0] if same else len(losses)
        if not same:
            losses.append(msgspec.structs.replace(facts, id=len(losses)))
    return Shift(
        steps=steps, global_steps=int(after("steps", "global_step")) + 1, passes=int(after("evaluations", "pass")) + 1,
        seconds=max(0.0, after("steps", "time")), losses=places,
    )  # fmt: skip


def _kind(facts: Any) -> tuple[Any, ...]:
    return (facts.function, facts.classes, facts.reduction, facts.label_smoothing, facts.weighted, facts.soft_targets)


class Shift(Facts, frozen=True, kw_only=True):
    """What a later attempt's keys gain, so that they go on where the earlier one's ended."""

    steps: dict[int, int]  # by optimizer
    global_steps: int
    passes: int
    seconds: float
    losses: dict[int, int]  # index of a loss in the attempt -> in the run


@dataclass(frozen=True, eq=False)
class Later:
    """A part of a later attempt."""

    part: Part
    shift: Shift

    def read(self, table: Table, names: list[str]) -> "pyarrow.Table":
        """The named columns, moved behind the earlier attempts."""
        moves: dict[str, Callable[[Array], Array]] = {
            "global_step": lambda values: values + self.shift.global_steps,
            "after_step": lambda values: values + self.shift.global_steps,
            "pass": lambda values: values + self.shift.passes,
            "time": lambda values: values + self.shift.seconds,
            "loss": lambda values: _looked_up(values, self.shift.losses, keep=True),
            "step": self._step_mover(table),
        }
        data = read(self.part, table, names)
        columns = {name: data.column(name) for name in names}
        for name in columns.keys() & moves.keys():
            columns[name] = _arrow(table, name, moves[name](columns[name].to_numpy()))
        return _as_table(columns)

    def _step_mover(self, table: Table) -> "Callable[[Array], Array]":
        if "optimizer" not in table.key:
            return lambda values: values + self.shift.global_steps
        return lambda values: values + _looked_up(_column(self.part, table, "optimizer"), self.shift.steps, keep=False)


def _looked_up(values: "Array", places: dict[int, int], keep: bool) -> "Array":
    import numpy

    moved = values.copy() if keep else numpy.zeros_like(values, dtype=numpy.int64)
    for old, new in places.items():
        moved[values == old] = new
    return moved


def _column(part: Part, table: Table, name: str) -> "Array":
    array: Array = read(part, table, [name]).column(name).to_numpy()
    return array


def _arrow(table: Table, name: str, values: "Array") -> Any:
    import pyarrow

    return pyarrow.array(values, arrow_schema(table).field(name).type)


def _as_table(columns: dict[str, Any]) -> "pyarrow.Table":
    import pyarrow

    return pyarrow.table(list(columns.values()), names=list(columns))


@dataclass(frozen=True, eq=False)
class Shard:
    """What one rank recorded: `tensors` gives for each of its tensors the first rank's identifier and the share."""

    parts: list[Part]
    tensors: dict[int, tuple[int, int]]

    def column(self, name: str) -> "Array":
        """[rows] of table `tensors`."""
        import numpy

        columns = [_column(part, TABLES["tensors"], name) for part in self.parts]
        return numpy.concatenate(columns) if columns else numpy.zeros(0)


@dataclass(frozen=True, eq=False)
class Merged:
    """Table `tensors` of all ranks' shards as one part; steps that a needed rank did not record are left out."""

    shards: Sequence[Shard]

    def read(self, table: Table, names: list[str]) -> "pyarrow.Table":
        """The named columns."""
        keys = dict(zip(table.key, self._rows[0], strict=True))
        columns = {name: keys[name] if name in keys else self._combined(name) for name in names}
        return _as_table({name: _arrow(table, name, values) for name, values in columns.items()})

    @cached_property
    def _rows(self) -> "tuple[Array, Array, Array]":
        """Keys [3, rows]; and for each shard the row it comes from and its share of the elements, [shards, rows]."""
        import numpy

        looked = []
        for shard in self.shards:
            owner, step, tensor = (shard.column(name).astype(numpy.int64) for name in TABLES["tensors"].key)
            place = numpy.full(int(tensor.max(initial=0)) + 1, -1)
            for identifier, (first, _) in shard.tensors.items():
                place[identifier : identifier + 1] = first
            looked.append(numpy.stack([owner, step, place[tensor] if len(tensor) else tensor]))
        base = looked[0]
        most = [max(int(keys[axis].max(initial=0)) for keys in looked) + 1 for axis in (1, 2)]

        def code(keys: Array) -> Array:
            codes: Array = (keys[0] * most[0] + keys[1]) * most[1] + keys[2]
            return codes

        wanted = code(base)
        where = numpy.zeros((len(looked), len(wanted)), dtype=numpy.int64)
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
            by_tensor = numpy.zeros(most[1])
            for first, elements in shard.tensors.values():
                by_tensor[first : first + 1] = elements
            share[index] = by_tensor[base[2]]
            complete &= found | (share[index] == 0)
        # A step is whole or it is not there: a gap in the middle of one would look like NaN.
        step = base[0] * most[0] + base[1]
        keep = ~numpy.isin(step, step[~complete])
        # An empty tensor is nobody's share; the first rank speaks for it.
        share[0, share.sum(axis=0) == 0] = 1
        return base[:, keep], where[:, keep], share[:, keep]

    def _gathered(self, name: str) -> "Array":
        """[shards, rows] of one column."""
        import numpy

        where = self._rows[1]
        out = numpy.full(where.shape, numpy.nan)
        for index, shard in enumerate(self.shards):
            column = shard.column(name)
            if len(column):
                out[index] = column[where[index]]
        return out

    def _combined(self, name: str) -> "Array":
        """[rows]: one column of the whole tensors."""
        import numpy

        share = self._rows[2]
        has = (self._gathered("has_grad") == 1) & (share > 0)
        counts = has if name.startswith("gradient_") else share > 0
        if name == "has_grad":
            return has.any(axis=0)
        values = self._gathered(name)
        if name in _SUM:
            return numpy.where(counts, values, 0).sum(axis=0)
        if name in _ROOT_OF_SQUARES:
            merged = numpy.sqrt(numpy.where(counts, values, 0.0).__pow__(2).sum(axis=0))
        elif name in _GREATEST:
            merged = numpy.where(counts, values, 0.0).max(axis=0)
        else:
            merged = self._averaged(name, values, numpy.where(counts, share, 0.0))
        return numpy.where(counts.any(axis=0), merged, numpy.nan)

    def _averaged(self, name: str, values: "Array", weight: "Array") -> "Array":
        """The mean over the shards, weighted by their elements; of a standard deviation the pooled one."""
        import numpy

        if name in ("gradient_mean", "gradient_std"):
            weight = numpy.maximum(weight - self._gathered("gradient_nan") - self._gathered("gradient_inf"), 0.0)
        weight = numpy.where(weight > 0, weight, 0.0)
        total = weight.sum(axis=0)
        with numpy.errstate(all="ignore"):
            if name != "gradient_std":
                return numpy.where(weight > 0, weight * values, 0.0).sum(axis=0) / total
            means = self._gathered("gradient_mean")
            mean = numpy.where(weight > 0, weight * means, 0.0).sum(axis=0) / total
            squares = numpy.where(weight > 0, weight * (values**2 + (means - mean) ** 2), 0.0).sum(axis=0)
            return numpy.sqrt(squares / total)
