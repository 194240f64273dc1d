"""Runs of several ranks that each hold the whole model, alike and not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pyarrow.parquet

from gradaudit.run import Run, load
from tests.build import build_run, write_table
from tests.diagnosers.runs import TEN, falling

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


Case = tuple[Callable[[Path], Run], float]
REPLICAS: dict[str, dict[str, Case]] = {
    "rank_divergence": {
        "": (lambda path: replicas(path, [{"weight_checksum": sums(64)}]), 0),
        "gradient": (own_gradients, 1.0),
        "most": (own_gradients, 1.0),
        "standard_errors": (skewed, 1e9),
        "share": (skewed, 1e9),
    },
}
