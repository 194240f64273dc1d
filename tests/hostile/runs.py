"""The sound runs that are mutated: with every table, of several ranks, killed, cut into shards, begun again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet

from gradaudit.schema import TABLES, arrow_schema

SAMPLES = Path(__file__).parents[2] / "sample_runs"


def sample(name: str) -> Callable[[Path], None]:
    """Copies a sample run."""
    return lambda path: shutil.copytree(SAMPLES / name / "run", path) and None


def killed(path: Path) -> None:
    """A run whose tables are still open, and whose process is gone."""
    sample("overfitting")(path)
    facts = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**facts, "state": "running", "ended": "", "pid": 2**22 - 2}))
    for file in sorted((path / "rank00000").glob("*.parquet")):
        name, _, number = file.stem.partition("-")
        schema = arrow_schema(TABLES[name]).with_metadata({"segment": number})
        live = str(file.parent / f"{name}.live.arrows")
        with pyarrow.OSFile(live, "wb") as sink, pyarrow.ipc.new_stream(sink, schema) as stream:
            stream.write_table(pyarrow.parquet.read_table(file).cast(schema), max_chunksize=100)
        file.unlink()


def sharded(path: Path) -> None:
    """A run of two ranks that each hold half of every tensor."""
    sample("initial_loss_mismatch")(path)
    facts = json.loads((path / "run.json").read_text())
    facts["world_size"] = 2
    for tensor in facts["tensors"]:
        size = 1
        for length in tensor["shape"]:
            size *= length
        tensor |= {"placements": ["Shard(0)"], "share": size // 2, "shape": [size // 2, 2]}
    (path / "run.json").write_text(json.dumps(facts))
    shutil.copytree(path / "rank00000", path / "rank00001")
    (path / "rank00001" / "rank.json").write_text(json.dumps({**facts, "rank": 1}))


def restarted(path: Path) -> None:
    """A run that was interrupted, and a second attempt that goes on from there."""
    sample("dead_embedding")(path)
    facts = json.loads((path / "run.json").read_text())
    first = {**facts, "state": "interrupted", "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z"}
    second = {**facts, "attempt": 1, "started": "2026-01-01T00:02:00Z", "ended": "2026-01-01T00:03:00Z"}
    (path / "run.json").write_text(json.dumps(first))
    shutil.copytree(path / "rank00000", path / "rank00000.1")
    (path / "rank00000.1" / "rank.json").write_text(json.dumps(second))


RUNS: dict[str, Callable[[Path], None]] = {
    "healthy_classifier": sample("healthy_classifier"),
    "fp16_underflow": sample("fp16_underflow"),
    "rank_divergence": sample("rank_divergence"),
    "killed": killed,
    "sharded": sharded,
    "restarted": restarted,
}
