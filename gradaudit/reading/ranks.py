"""The processes of one run put together: shards of all ranks become whole tensors, a later attempt follows an earlier.

Nothing is read before a column is asked for, and then column by column.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gradaudit import guard
from gradaudit.guard import Refused
from gradaudit.reading.limits import MOST_NAMES, MOST_RANKS, MOST_TEXT, Budget, checked
from gradaudit.reading.segments import Part, Problem, clean_text, column, columns, folder_of, parts, read, table_of
from gradaudit.reading.shards import MergedShards, Shard, probed_by_all
from gradaudit.schema import TABLES, Facts, Meta, Table, TensorFacts

if TYPE_CHECKING:
    import numpy
    import pyarrow

    Array = numpy.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Processes:
    """What the processes of a run wrote, as one run."""

    meta: Meta  # of the last attempt, with the losses of all of them
    parts: dict[str, tuple[Part, ...]]
    attempts: tuple[int, ...]  # the global step at which each attempt begins
    replicas: tuple["Replica", ...] = ()  # of a training whose every rank holds a copy of the model


def merge_processes(path: Path, first: Meta, problems: list[Problem], budget: Budget) -> Processes:
    """Read what every process wrote; `problems` gains what is damaged, missing or was not merged."""
    others = _others(path, problems, budget)
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
            lacks = f"{lone:,} tensors that rank {first.rank} lacks; they were not merged"
            problems.append(Problem(f"{folder_of(meta)} trains {lacks}"))
    found: dict[str, list[Part]] = {name: [] for name in TABLES}
    losses, starts = list(first.losses), [0]
    for number, meta in enumerate(attempts):
        # run.json is written by the process whose folder has no number, whatever it says of itself.
        meta = meta if number else msgspec.structs.replace(first, attempt=0)
        own: dict[str, list[Part]] = {name: list(parts(path, name, meta, problems, budget)) for name in TABLES}
        if meta.world_size > 1 and any(facts.placements for facts in meta.tensors):
            own["tensors"], tensors = _merged(path, meta, others, own["tensors"], problems, budget)
            attempts[number] = msgspec.structs.replace(attempts[number], tensors=tensors)
        if number:
            shift = _shift(found, meta, losses)
            starts.append(shift.global_steps)
            own = {name: [ResumedPart(part, shift) for part in mine] for name, mine in own.items()}
        for name, mine in own.items():
            found[name] += mine
    whole = msgspec.structs.replace(
        attempts[-1], losses=losses, started=first.started, name=first.name, attempt=first.attempt
    )
    copies = _replicas(
        lambda meta: parts(path, "steps", meta, problems, budget), [first, *others], attempts, starts, found["steps"]
    )
    return Processes(whole, {name: tuple(mine) for name, mine in found.items()}, tuple(starts), copies)


@dataclass(frozen=True, eq=False)
class Replica:
    """The steps that one rank of a data-parallel training recorded, of one attempt."""

    rank: int
    parts: tuple[Part, ...]  # of table `steps`
    begin: int = 0  # the global step of its first row
    end: float = math.inf  # the global step at which the next attempt begins


def _replicas(
    read: Callable[[Meta], Iterable[Part]],
    metas: list[Meta],
    attempts: list[Meta],
    starts: list[int],
    steps: Sequence[Part],
) -> tuple[Replica, ...]:
    """The steps of every rank; empty unless there are several, each with the whole model."""
    first = attempts[-1]
    if first.world_size < 2 or any(facts.placements for facts in first.tensors):
        return ()
    replicas = [Replica(first.rank, tuple(steps))]
    ends = [*starts[1:], math.inf]
    for meta in metas:
        numbers = [number for number, attempt in enumerate(attempts) if attempt.restarts == meta.restarts]
        if meta.rank == first.rank or not numbers or (meta.attempt and not meta.restarts):
            continue
        if meta.rank >= first.world_size:
            continue
        if {(facts.name, *facts.shape) for facts in meta.tensors} != {(f.name, *f.shape) for f in first.tensors}:
            return ()
        number = numbers[-1]
        replicas.append(Replica(meta.rank, tuple(read(meta)), starts[number], ends[number]))
    return tuple(replicas)


def replica_columns(replicas: Sequence[Replica]) -> dict[str, "Array"]:
    """Column name -> [rows] of the steps of all `replicas`, by rank and step."""
    import numpy

    table, names = TABLES["steps"], ["global_step", "mean_loss", "objective", "gradient_norm", "weight_checksum"]
    found: dict[str, list[Array]] = {"rank": [numpy.zeros(0, numpy.int64)]}
    found |= {
        name: [numpy.zeros(0, numpy.float64 if "float" in table.column(name).dtype else numpy.int64)] for name in names
    }
    for replica in replicas:
        for part in replica.parts:
            mine = columns(part, table, names)
            mine["global_step"] = mine["global_step"] + replica.begin
            kept = mine["global_step"] < replica.end
            mine["rank"] = numpy.full(len(kept), replica.rank)
            for name, values in mine.items():
                found[name].append(values[kept])
    whole = {name: numpy.concatenate(values) for name, values in found.items()}
    order = numpy.lexsort((whole["global_step"], whole["rank"]))
    return {name: values[order] for name, values in whole.items()}


def _others(path: Path, problems: list[Problem], budget: Budget) -> list[Meta]:
    """The facts of every process but the first one of rank 0, by rank and attempt."""
    metas = []
    folders = [name for name in guard.names(path, most=MOST_NAMES) if name.startswith("rank")]
    if len(folders) > MOST_RANKS:
        most = f"all above {MOST_RANKS:,} were left out"
        problems.append(Problem(f"{path.name} has {len(folders):,} folders of ranks; {most}"))
    for folder in folders[:MOST_RANKS]:
        shown = clean_text(folder)
        try:
            text = guard.content(path, folder, "rank.json", most=MOST_TEXT)
            budget.spend_facts(text)
            meta = msgspec.json.decode(text, type=Meta)
            checked(meta)
            metas.append(meta)
        except (FileNotFoundError, NotADirectoryError):
            if "." in folder:
                problems.append(Problem(f"{shown} has no readable rank.json and was not merged"))
        except Refused as refused:
            link = "is a link" in str(refused)
            why = "is a link, or holds one, and was not followed"
            problems.append(
                Problem(f"{shown} {why}" if link else f"{shown}/rank.json {refused}, and the rank was not merged")
            )
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            problems.append(Problem(f"{shown} has no readable rank.json and was not merged"))
    return sorted(metas, key=lambda meta: (meta.rank, meta.attempt))


def _left_out(meta: Meta, reason: str) -> Problem:
    return Problem(f"{folder_of(meta)} was written by another process and was not merged: {reason}")


def _follows(before: Meta, meta: Meta) -> bool:
    """Whether `meta` is the same training, begun again after `before` had ended."""
    if [(t.name, t.shape) for t in before.tensors] != [(t.name, t.shape) for t in meta.tensors]:
        return False
    ended = before.state in ("failed", "interrupted") and before.ended <= meta.started
    return meta.restarts > before.restarts or ended


def _merged(
    path: Path, meta: Meta, others: Sequence[Meta], own: list[Part], problems: list[Problem], budget: Budget
) -> tuple[list[Part], list[TensorFacts]]:
    """One part in which the shards of all ranks are whole tensors, and the facts of these."""
    shards = [Shard(own, {facts.id: (facts.id, _share(facts, True)) for facts in meta.tensors}, meta.rank)]
    identifiers = {facts.name: facts.id for facts in meta.tensors}
    ranks = {meta.rank: meta}
    for other in others:
        if other.rank in ranks or other.rank >= meta.world_size or other.restarts != meta.restarts:
            continue
        ranks[other.rank] = other
        table = {f.id: (identifiers[f.name], _share(f, False)) for f in other.tensors if f.name in identifiers}
        shards.append(Shard(list(parts(path, "tensors", other, problems, budget)), table, other.rank))
    try:
        # Of every row of the first rank, Merged keeps where it is found in each shard, and values of all of them.
        budget.spend(40 * len(shards) * sum(map(len, own)))
    except Refused as refused:
        problems.append(Problem(f"the merged shards of {len(shards):,} ranks {refused}", "tensors"))
        return [], meta.tensors
    covered = dict.fromkeys(identifiers.values(), 0)
    for shard in shards:
        for identifier, share in shard.tensors.values():
            covered[identifier] += share
    short = [facts for facts in meta.tensors if facts.placements and covered[facts.id] != facts.elements]
    if short:
        missing = f"files of {meta.world_size - len(shards)} of {meta.world_size} ranks are missing: statistics of "
        some = f"{len(short):,} sharded tensors ({clean_text(short[0].name)}, ...)"
        problems.append(Problem(f"{missing}{some} are those of the shards that were found"))
    return [MergedShards(shards)], probed_by_all(list(ranks.values()))


def _share(facts: Any, first: bool) -> int:
    """Elements of the tensor that this rank's statistics stand for; a whole tensor is the first rank's."""
    if facts.placements:
        return int(facts.share)
    return int(facts.elements) if first else 0


def _shift(found: dict[str, list[Part]], meta: Meta, losses: list[Any]) -> "KeyOffset":
    """How far the keys of a later attempt move; losses it brings are added to `losses`."""
    import numpy

    def last(table: str, name: str) -> float:
        values = [column(part, TABLES[table], name) for part in found[table]]
        return max((float(array.max()) for array in values if len(array) and abs(array.max()) < 2**53), default=-1.0)

    steps: dict[int, int] = {}
    for part in found["steps"]:
        owner, step = (column(part, TABLES["steps"], name) for name in ("optimizer", "step"))
        for optimizer in numpy.unique(owner).tolist():
            steps[optimizer] = max(steps.get(optimizer, 0), int(step[owner == optimizer].max()) + 1)
    places = {}
    for facts in meta.losses:
        same = [index for index, known in enumerate(losses) if _kind(known) == _kind(facts)]
        places[facts.id] = same[0] if same else len(losses)
        if not same:
            losses.append(msgspec.structs.replace(facts, id=len(losses)))
    return KeyOffset(
        steps=steps, global_steps=int(last("steps", "global_step")) + 1, passes=int(last("evaluations", "pass")) + 1,
        seconds=max(0.0, last("steps", "time")), losses=places,
    )  # fmt: skip


def _kind(facts: Any) -> tuple[Any, ...]:
    return (facts.function, facts.classes, facts.reduction, facts.label_smoothing, facts.weighted, facts.soft_targets)


class KeyOffset(Facts, frozen=True, kw_only=True):
    """What a later attempt's keys gain, so that they go on where the earlier one's ended."""

    steps: dict[int, int]  # by optimizer
    global_steps: int
    passes: int
    seconds: float
    losses: dict[int, int]  # index of a loss in the attempt -> in the run


@dataclass(frozen=True, eq=False)
class ResumedPart:
    """A part of a later attempt."""

    part: Part
    shift: KeyOffset

    def __len__(self) -> int:
        """Rows of the part."""
        return len(self.part)

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
        found = {name: data.column(name) for name in names}
        for name in found.keys() & moves.keys():
            found[name] = moves[name](found[name].to_numpy())
        return table_of(table, found)

    def _step_mover(self, table: Table) -> "Callable[[Array], Array]":
        if "optimizer" not in table.key:
            return lambda values: values + self.shift.global_steps
        return lambda values: values + _looked_up(column(self.part, table, "optimizer"), self.shift.steps, keep=False)


def _looked_up(values: "Array", places: dict[int, int], keep: bool) -> "Array":
    import numpy

    moved = values.copy() if keep else numpy.zeros_like(values, dtype=numpy.int64)
    for old, new in places.items():
        moved[values == old] = new
    return moved
