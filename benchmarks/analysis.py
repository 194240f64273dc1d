"""What analyzing costs: a long synthetic run through every diagnoser, in a process of its own.

The run is what the recorder's own writer makes of 150 tensors and 10,000 steps, statistics at every step: 1.5 million
rows. CPU time, since wall time on a shared machine says little, and the greatest resident memory of the process; both
from the start of Python on, imports included.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec
import numpy

from benchmarks import memory
from gradaudit.record.storage.writer import Writer
from gradaudit.schema import TENSORS, LossFacts, Meta, ModuleFacts, OptimizerFacts, TensorFacts

LAYERS, STEPS, ROUNDS = 75, 10_000, 3
HAND_OVER = 200  # steps


def tensors() -> list[TensorFacts]:
    """A weight and a bias for each layer, an embedding table in front."""
    found = []
    for layer in range(LAYERS):
        module = f"blocks.{layer}"
        for role, shape in (("weight", [64, 64]), ("bias", [64])):
            found.append(
                TensorFacts(id=len(found), name=f"{module}.{role}", role=role, module=module, module_class="Linear",
                            shape=shape, depth=len(found), optimizer=0, group=0, output_axis=0)
            )  # fmt: skip
    found[0] = msgspec.structs.replace(found[0], role="embedding", module_class="Embedding", shape=[5000, 64])
    return found


def record(folder: Path, steps_in_all: int = STEPS) -> None:
    """Write the run: log-normal statistics around what healthy layers have, a loss that falls."""
    random = numpy.random.default_rng(0)
    facts = tensors()
    entropy = float(numpy.log(10))
    losses = [LossFacts(id=0, function="cross_entropy", classes=10, label_counts=[32_000] * 10, label_entropy=entropy)]
    meta = Meta(
        name="benchmark", state="finished", tensors=facts, losses=losses, torch_version="2.13.0", device="cpu",
        optimizers=[OptimizerFacts(id=0, optimizer_class="AdamW", defaults={"eps": 1e-8})],
        modules=[ModuleFacts(id=0, name="", module_class="Net")],
    )  # fmt: skip
    (folder / "rank00000").mkdir(parents=True)
    writer = Writer(folder / "rank00000", lambda: msgspec.json.encode(meta), folder / "run.json")
    ids = numpy.arange(len(facts))
    for start in range(0, steps_in_all, HAND_OVER):
        steps = numpy.arange(start, min(start + HAND_OVER, steps_in_all))
        loss = 0.3 + 2.0 * numpy.exp(-steps / (steps_in_all / 6)) + 0.05 * random.standard_normal(len(steps))
        rows = len(steps) * len(ids)
        columns = {"optimizer": numpy.zeros(rows, int), "step": numpy.repeat(steps, len(ids)),
                   "tensor": numpy.tile(ids, len(steps)), "has_grad": numpy.ones(rows, bool)}  # fmt: skip
        for column in TENSORS.columns[4:]:
            around = {"weight_norm": 1.0, "update_norm": 1e-3}.get(column.name, 0.1)
            counted = column.dtype == "int64" or column.name.endswith("fraction")
            columns[column.name] = numpy.zeros(rows) if counted else around * random.lognormal(0, 0.2, rows)
        table = {
            "optimizer": 0, "step": steps, "global_step": steps, "time": steps * 0.01, "seconds": 0.01,
            "objective": loss, "mean_loss": loss, "loss": 0, "targets": 32, "ignored_targets": 0,
            "learning_rate": [[1e-3]] * len(steps), "weight_decay": [[0.01]] * len(steps),
            "momentum": [[0.9]] * len(steps), "gradient_norm": random.lognormal(0, 0.2, len(steps)),
            "clip_threshold": numpy.nan, "clip_kind": 0, "clipped_fraction": numpy.nan, "amp_scale": numpy.nan,
            "skipped": False, "micro_steps": 1, "batch_size": 32, "training": 1, "stale": 0, "recorded": True,
            "weight_checksum": 0,
        }  # fmt: skip
        table = {name: value if numpy.ndim(value) else [value] * len(steps) for name, value in table.items()}
        evaluations = {
            "pass": [start // HAND_OVER], "split": ["validation"], "after_step": [int(steps[-1])],
            "time": [start * 0.01],
            "mean_loss": [float(loss.mean()) * 1.05], "targets": [1000], "batches": [10], "training": [0], "loss": [0],
        }  # fmt: skip
        batch = {"steps": table, "tensors": columns, "evaluations": evaluations}
        writer.put(lambda batch=batch: batch, wait=True)  # type: ignore[misc]
    writer.close()
    if writer.error is not None:
        raise writer.error


def analyzed(folder: Path) -> None:
    """Analyze the run in this process, and print what it took as JSON."""
    from gradaudit.audit.runner import analyze
    from gradaudit.reading.run import load

    audit = analyze(load(folder))
    failed = [outcome.traceback for outcome in audit.with_status("failed")]
    if failed:
        raise click.ClickException(failed[0])
    click.echo(json.dumps({"seconds": time.process_time(), "mebibytes": memory.peak(), "rules": len(audit.outcomes)}))


def measure(folder: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """The median seconds, the greatest memory and the number of diagnosers, of so many processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.analysis", str(folder)]
    found = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
        for _ in range(rounds)
    ]
    return {
        "seconds": statistics.median(each["seconds"] for each in found),
        "mebibytes": max(each["mebibytes"] for each in found),
        "rules": found[0]["rules"],
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        analyzed(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            record(Path(temporary) / "run")
            took = measure(Path(temporary) / "run")
        click.echo("| run | diagnosers | seconds | peak memory |")
        click.echo("|---|---|---|---|")
        click.echo(
            f"| {2 * LAYERS} tensors, {STEPS:,} steps, every step | {took['rules']:.0f} | {took['seconds']:.2f} | "
            f"{took['mebibytes']:.0f} MiB |"
        )
