"""Builds small recorded runs as real Parquet, for tests of everything that reads runs."""

from pathlib import Path
from typing import Any

import msgspec
import numpy
import pandas
import pyarrow
import pyarrow.parquet

from gradaudit.reading.run import Run, load
from gradaudit.schema import TABLES, LossFacts, Meta, ModuleFacts, OptimizerFacts, TensorFacts, arrow_schema

DEFAULTS: dict[str, Any] = {
    "gradient_norm": 1e-1,
    "gradient_mean": 0.0,
    "gradient_std": 1e-2,
    "gradient_max_abs": 5e-2,
    "gradient_zero_fraction": 0.0,
    "gradient_nan": 0,
    "gradient_inf": 0,
    "weight_norm": 1.0,
    "update_norm": 1e-3,
    "drift_norm": 1e-1,
    "has_grad": True,
}


def linear_stack(depth: int = 4, width: int = 32, embedding: int = 0) -> list[TensorFacts]:
    """`depth` Linear layers with biases, behind an embedding table of `embedding` rows if not 0."""
    tensors = []
    if embedding:
        tensors.append(
            TensorFacts(id=0, name="embedding.weight", role="embedding", module="embedding", module_class="Embedding",
                        shape=[embedding, width], optimizer=0, group=0)
        )  # fmt: skip
    for layer in range(depth):
        for role, shape in (("weight", [width, width]), ("bias", [width])):
            tensors.append(
                TensorFacts(id=len(tensors), name=f"layers.{layer}.{role}", role=role, module=f"layers.{layer}",
                            module_class="Linear", shape=shape, depth=len(tensors), optimizer=0, group=0)
            )  # fmt: skip
    return tensors


def build_run(
    path: Path,
    *,
    loss: Any,
    stats: dict[str, Any] | None = None,
    tensors: list[TensorFacts] | None = None,
    facts: LossFacts | None = None,
    evaluations: list[tuple[int, str, float]] = [],  # noqa: B006
    evaluating: Any = 0,
    rows: list[dict[str, Any]] = [],  # noqa: B006
    samples: list[dict[str, Any]] = [],  # noqa: B006
    histograms: list[dict[str, Any]] = [],  # noqa: B006
    steps: dict[str, Any] | None = None,
    recorded: Any = None,
    state: str = "finished",
    optimizer: str = "AdamW",
    defaults: dict[str, Any] = {},  # noqa: B006
    modules: list[ModuleFacts] = [],  # noqa: B006
    **meta: Any,
) -> Run:
    """Write a one-optimizer run and load it.

    `loss` is [steps]; each entry of `stats` broadcasts to [recorded steps, tensors]; `recorded`
    lists the recorded steps (default all); `samples` are rows of table `modules`; `steps` overrides
    columns of the steps table; `evaluating` is the training flag of the evaluations.
    """
    loss = numpy.asarray(loss, dtype=float)
    count = len(loss)
    tensors = linear_stack() if tensors is None else tensors
    recorded = numpy.arange(count) if recorded is None else numpy.asarray(recorded)
    facts = facts or LossFacts(id=0, function="cross_entropy", classes=10)
    step_columns: dict[str, Any] = {
        "optimizer": 0, "step": numpy.arange(count), "global_step": numpy.arange(count),
        "time": numpy.arange(count) * 0.01, "seconds": 0.01, "objective": loss, "mean_loss": loss, "loss": facts.id,
        "targets": 32, "ignored_targets": 0, "learning_rate": [[1e-3]] * count, "weight_decay": [[0.0]] * count,
        "momentum": [[0.9]] * count, "gradient_norm": 1.0, "clip_threshold": numpy.nan, "clip_kind": 0,
        "amp_scale": numpy.nan, "skipped": False, "micro_steps": 1, "batch_size": 32, "training": 1, "stale": 0,
        "recorded": numpy.isin(numpy.arange(count), recorded), "weight_checksum": 0, **(steps or {}),
    }  # fmt: skip
    shape = (len(recorded), len(tensors))
    tensor_columns: dict[str, Any] = {
        "optimizer": 0,
        "step": numpy.repeat(recorded, len(tensors)),
        "tensor": numpy.tile([tensor.id for tensor in tensors], len(recorded)),
    }
    for name, default in {**DEFAULTS, **(stats or {})}.items():
        tensor_columns[name] = numpy.broadcast_to(default, shape).ravel()
    evaluation_columns = {
        "pass": pandas.factorize(numpy.asarray([e[0] for e in evaluations]))[0] if evaluations else [],
        "split": [e[1] for e in evaluations], "after_step": [e[0] for e in evaluations],
        "time": [e[0] * 0.01 for e in evaluations], "mean_loss": [e[2] for e in evaluations],
        "targets": 100, "batches": 4, "training": evaluating, "loss": facts.id,
    }  # fmt: skip
    known = {"started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:10Z",
             "optimizers": [OptimizerFacts(id=0, optimizer_class=optimizer, defaults=defaults)]}  # fmt: skip
    whole = Meta(
        name=path.name, state=state, tensors=tensors, losses=[facts], modules=modules, torch_version="2.13.0",
        device="cpu", **{**known, **meta},
    )  # fmt: skip
    folder = path / "rank00000"
    folder.mkdir(parents=True)
    (path / "run.json").write_bytes(msgspec.json.encode(whole))
    write_table(folder, "steps", pandas.DataFrame(step_columns))
    write_table(folder, "tensors", pandas.DataFrame(tensor_columns))
    if evaluations:
        write_table(folder, "evaluations", pandas.DataFrame(evaluation_columns))
    for name, given in (("rows", rows), ("modules", samples), ("histograms", histograms)):
        if given:
            write_table(folder, name, pandas.DataFrame(given))
    return load(path)


def write_table(folder: Path, name: str, frame: pandas.DataFrame, segment: int = 0) -> Path:
    """Write `frame` as a closed segment of table `name`."""
    schema = arrow_schema(TABLES[name])
    for column in schema.names:
        if column not in frame:
            frame[column] = None
    file = folder / f"{name}-{segment:06d}.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pandas(frame[schema.names], schema, preserve_index=False), file)
    return file
