"""Sick runs of the rules that note facts: labels, schedules, spikes, skipped steps, batches, odd validation losses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy

from gradaudit.reading.run import Run, load
from gradaudit.schema import (
    DataFacts,
    LossFacts,
    ModelStateFacts,
    ModuleFacts,
    NormFacts,
    OptimizerFacts,
    TensorFacts,
)
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat

NET = [ModuleFacts(id=0, name="", module_class="Net")]
DROPOUT = [*NET, ModuleFacts(id=1, name="drop", module_class="Dropout", dropout=0.3)]


def overflowing(path: Path, skips: int = 10, steps: int = 100) -> Run:
    """A GradScaler skips the last `skips` of the steps."""
    skipped = numpy.arange(steps) >= steps - skips
    return build_run(path, loss=falling(steps), steps={"skipped": skipped})


def normalized(path: Path, batch: int = 4, kind: str = "BatchNorm1d", before: str = "Linear", **changes: Any) -> Run:
    """A layer of class `before`, a batch normalisation and a head, with so many examples in a forward pass."""
    modules = [*NET, ModuleFacts(id=1, name="norm", module_class=kind, batch_norm=True)]
    tensors = [
        TensorFacts(id=index, name=f"{module}.weight", role=role, module=module, module_class=name, shape=shape,
                    depth=index, optimizer=0, group=0)
        for index, (module, role, name, shape) in enumerate(
            [("first", "weight", before, [8, 8]), ("norm", "norm", kind, [8]), ("head", "weight", "Linear", [3, 8])]
        )
    ]  # fmt: skip
    steps = {"batch_size": batch, **changes.pop("steps", {})}
    return build_run(path, loss=falling(), facts=TEN, tensors=tensors, modules=modules, steps=steps, **changes)


def one_at_a_time(path: Path, values: Any = (2.2, 2.4, 2.5), **norm: Any) -> Run:
    """Batches of one image; evaluations, in evaluation mode, with losses of these `values`."""
    norms = [NormFacts(name="norm", **{"training": True, "moved": True, **norm})]
    held_out = [(step, "validation", value) for step, value in zip((60, 120, 199), values, strict=True)]
    state = ModelStateFacts(norms=norms)
    return normalized(path, 1, kind="BatchNorm2d", before="Conv2d", evaluations=held_out, model_state=state)


def spiking(path: Path, height: float = 2.0, width: int = 8, **changes: Any) -> Run:
    """A loss that jumps by `height` at step 200 of 400 for `width` steps."""
    loss = falling(400, noise=0.02)
    loss[200 : 200 + width] += height
    return build_run(path, loss=loss, **{"facts": TEN, **changes})


def uneven_labels(path: Path, level: float = 0.2, share: float = 0.95, evaluations: Any = (), **changes: Any) -> Run:
    """One of two classes has `share` of the labels, and the loss stays at `level`."""
    counts = [round(10_000 * share), round(10_000 * (1 - share))]
    entropy = -sum(p * numpy.log(p) for p in (share, 1 - share))
    known = {"classes": 2, "label_counts": counts, "label_entropy": float(entropy), **changes}
    facts = LossFacts(id=0, function="cross_entropy", **known)
    return build_run(path, loss=flat(200, level), facts=facts, evaluations=evaluations)


def collapsing(path: Path, at: int = 80, loss: Any = None, floor: float = 1e-3, **changes: Any) -> Run:
    """The learning rate falls to `floor` of its peak at step `at`, and the loss stops falling there."""
    if loss is None:
        loss = numpy.linspace(2.3, 1.3, 200)
        loss[at:] = loss[at]
    rates = [[1e-3 if step < at else 1e-3 * floor] for step in range(200)]
    return build_run(path, loss=loss, facts=TEN, steps={"learning_rate": rates}, **changes)


def warming(path: Path, times: float = 100.0) -> Run:
    """The learning rate rises by `times` over the whole run."""
    rates = [[rate] for rate in numpy.linspace(1e-5, 1e-5 * times, 200).tolist()]
    return build_run(path, loss=falling(), facts=TEN, steps={"learning_rate": rates})


def climbing_stairs(path: Path, epochs: int = 10, whole: float = 1e-2, off: int = 0, **changes: Any) -> Run:
    """A warmup that is stepped once an epoch of 20 steps, `off` steps late; the optimizer was made with `whole`."""
    rates = [[1e-4 * (1 + max(0, step - off) // 20)] for step in range(20 * epochs)]
    data = DataFacts(batch_size=32, batches_per_epoch=20)
    settings = {"loss": falling(20 * epochs), "facts": TEN, "data": data, **changes}
    run = build_run(path, steps={"learning_rate": rates}, **settings)
    optimizers = [OptimizerFacts(id=0, optimizer_class="AdamW", defaults={"lr": whole})]
    (path / "run.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(run.meta, optimizers=optimizers)))
    return load(path)


def easy_validation(path: Path, below: float = 0.4, every: int = 20, **changes: Any) -> Run:
    """Validation losses that lie `below` of the training loss under it."""
    loss = falling(200, last=0.8)
    evaluations = [(step, "validation", float((1 - below) * loss[step])) for step in range(0, 200, every)]
    return build_run(path, loss=loss, evaluations=evaluations, **{"facts": TEN, "modules": NET, **changes})


Case = tuple[Callable[[Path], Run], float]
FACTS: dict[str, dict[str, Case]] = {
    "amp_overflow": {
        "": (overflowing, 0),
        "often": (overflowing, 1.0),
        "now_and_then": (lambda path: overflowing(path, 3), 1.0),
        "least": (lambda path: overflowing(path, 3), 100),
    },
    "small_batch_normalization": {
        "": (normalized, 0),
        "values": (normalized, 0),
        "few": (normalized, 0),
        "lost": (one_at_a_time, 100),
    },
    "loss_spike": {
        "": (spiking, 0),
        "times": (spiking, 1e9),
        "deviations": (spiking, 1e9),
        "share": (spiking, 1e9),
        "window": (spiking, 1000),
        "undone": (spiking, 1e9),
    },
    "class_imbalance": {
        "": (uneven_labels, 0),
        "ratio": (uneven_labels, 1e9),
        "gain": (uneven_labels, -1e9),
        "classes": (uneven_labels, 1),
    },
    "learning_rate_schedule": {
        "": (collapsing, 0),
        "collapsed": (collapsing, 0.0),
        "early": (collapsing, 0.0),
        "gain": (collapsing, 1e9),
        "risen": (warming, 1e9),
        "stairs": (climbing_stairs, 1e9),
    },
    "validation_better_than_train": {
        "": (easy_validation, 0),
        "margin": (easy_validation, 1e9),
        "noise": (lambda path: easy_validation(path, 0.8, modules=DROPOUT), 1e9),
        "most": (easy_validation, 1.1),
        "evaluations": (easy_validation, 100),
    },
}
