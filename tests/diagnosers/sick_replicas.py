"""Runs of several ranks that each hold the whole model, alike and not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pandas
import pyarrow.parquet

from gradaudit.reading.run import Run, load
from tests.build import build_run, write_table
from tests.diagnosers.runs import TEN, falling, parameters

GRID = 64  # steps between two checksums, as recorded


def replicas(path: Path, changes: list[dict[str, Any]] | None = None, *, steps: int = 200, **settings: Any) -> Run:
    """A run of one rank more than `changes` has entries; each is columns of `steps` in which that rank differs."""
    sums = numpy.where(numpy.arange(steps) % GRID == 0, 1_000_003 + numpy.arange(steps), 0)
    columns = {"weight_checksum": sums, **settings.pop("columns", {})}
    changes = [{}] if changes is None else changes
    run = build_run(path, loss=falling(steps), steps=columns, world_size=len(changes) + 1, **{"facts": TEN, **settings})
    frame = pyarrow.parquet.read_table(path / "rank00000" / "steps-000000.parquet").to_pandas()
    for rank, change in enumerate(changes, 1):
        folder = path / f"rank{rank:05d}"
        folder.mkdir()
        tensors = change.pop("tensors", run.meta.tensors)
        meta = msgspec.structs.replace(run.meta, rank=rank, tensors=tensors)
        (folder / "rank.json").write_bytes(msgspec.json.encode(meta))
        noise = 1 + 0.02 * numpy.random.default_rng(rank).standard_normal(steps)
        columns = {"mean_loss": frame["mean_loss"] * noise, "gradient_norm": numpy.nan, **change}
        write_table(folder, "steps", frame.assign(**columns))
    return load(path)


def sums(from_step: int, to_step: int = 10_000, steps: int = 200) -> Any:
    """[steps]: checksums that are other ones from `from_step` to before `to_step`."""
    step = numpy.arange(steps)
    other = (step >= from_step) & (step < to_step)
    return numpy.where(step % GRID == 0, 1_000_003 + step + other, 0)


def own_gradients(path: Path, difference: float = 0.2, share: float = 1.0) -> Run:
    """No checksums, and gradient norms on both ranks that differ at the first `share` of the steps."""
    norm = numpy.where(numpy.arange(200) < share * 200, 1 + difference, 1.0)
    return replicas(path, [{"gradient_norm": norm, "weight_checksum": 0}], columns={"weight_checksum": 0})


def skewed(path: Path, times: float = 3.0, noise: float = 0.02) -> Run:
    """The loss of the second of three ranks is `times` the others' throughout."""
    loss = times * falling(noise=noise)
    return replicas(path, [{"mean_loss": loss}, {}])


STEPS, RANKS, LAYERS = 100, 4, 4
QUARTER = 32 * 32 // RANKS


def sharded(
    path: Path, norms: Any, *, copies: Any = None, recorded: Any = range(STEPS), gradient: float = 0.1, **changes: Any
) -> Run:
    """Weights cut up over four ranks and a replicated norm; `norms` [ranks, steps, layers] and `copies` [ranks, steps]
    are what each rank measured of its own, and `gradient` is the norm of each shard's."""
    tensors = [msgspec.structs.replace(tensor, placements=["S(0)"], share=QUARTER) for tensor in parameters(LAYERS)]
    tensors.append(
        msgspec.structs.replace(
            tensors[0], id=LAYERS, depth=LAYERS, name="norm.weight", role="norm", shape=[32], placements=["R"], share=32
        )
    )
    copies = numpy.ones((RANKS, STEPS)) if copies is None else copies
    steps = list(recorded)
    run = build_run(path, loss=falling(STEPS), tensors=tensors, facts=TEN, recorded=steps, world_size=RANKS, **changes)
    frame = pyarrow.parquet.read_table(path / "rank00000" / "tensors-000000.parquet").to_pandas()
    for rank in range(RANKS):
        folder = path / f"rank{rank:05d}"
        folder.mkdir(exist_ok=True)
        held = [
            msgspec.structs.replace(tensor, share=tensor.share if tensor.role == "weight" or not rank else 0)
            for tensor in tensors
        ]
        if rank:
            (folder / "rank.json").write_bytes(msgspec.json.encode(
                msgspec.structs.replace(run.meta, rank=rank, tensors=held)))  # fmt: skip
        own = numpy.concatenate([norms[rank][steps], copies[rank][steps, None]], axis=1)
        columns = {"weight_norm": own.ravel(), "weight_max_abs": 0.1, "gradient_norm": gradient}
        write_table(folder, "tensors", pandas.DataFrame(frame.assign(**columns)))
    return load(path)


WHOLE = (RANKS * LAYERS + 1) ** 0.5  # times the norm of a shard's gradient: that of all shards and of one copy


def clipped_shards(path: Path, whole: float, returned: float, **changes: Any) -> Run:
    """Clipping at 1 by a norm of `returned`, which leaves a gradient of norm `whole` on all ranks together."""
    steps = {"clip_kind": 1, "clip_threshold": 1.0, "gradient_norm": returned}
    return sharded(path, random_norms(), gradient=whole / WHOLE, steps=steps, **changes)


def random_norms(seed: int = 0) -> Any:
    """[ranks, steps, layers]: every shard has a norm of its own."""
    random = numpy.random.default_rng(seed)
    start = 1 + 0.05 * random.standard_normal((RANKS, 1, LAYERS))
    return start + numpy.cumsum(1e-3 * random.standard_normal((RANKS, STEPS, LAYERS)), axis=1)


def parting_copies(path: Path) -> Run:
    """Shards of their own, and a replicated norm whose copy on one rank grows by 5 %."""
    copies = numpy.ones((RANKS, STEPS))
    copies[2] += numpy.linspace(0, 0.05, STEPS)
    return sharded(path, random_norms(), copies=copies)


Case = tuple[Callable[[Path], Run], float]
REPLICAS: dict[str, dict[str, Case]] = {
    "rank_divergence": {
        "": (lambda path: replicas(path, [{"weight_checksum": sums(64)}]), 0),
        "gradient": (own_gradients, 1.0),
        "most": (own_gradients, 1.0),
        "standard_errors": (skewed, 1e9),
        "share": (skewed, 1e9),
        "copies": (parting_copies, 0.1),
        "norm": (lambda path: clipped_shards(path, 2.0, 5.0), 2.5),
    },
}
