"""A run of two optimizers that take turns, each with a layer of its own."""

from pathlib import Path
from typing import Any

import msgspec
import numpy
import pandas

from gradaudit.reading.run import Run, load
from gradaudit.schema import LossFacts, OptimizerFacts
from tests.build import build_run, linear_stack, write_table


def two_optimizers(
    path: Path,
    first: Any,
    second: Any,
    function: str = "binary_cross_entropy_with_logits",
    *,
    shared: bool = False,
    **changes: Any,
) -> Run:
    """Losses [steps] of both; `shared`: the second steps on the first one's backward pass.

    Layer 0 is the first optimizer's and layer 1 the second's: tensors 0 and 1, 2 and 3.
    """
    facts = LossFacts(id=0, function=function, classes=10 if function == "cross_entropy" else 0)
    tensors = [msgspec.structs.replace(t, optimizer=t.id // 2, recorded_with=t.id // 2) for t in linear_stack(2)]
    stats = {"optimizer": [[0, 0, 1, 1]], **changes.pop("stats", {})}
    run = build_run(path, loss=first, facts=facts, tensors=tensors, stats=stats, **changes)
    frames = []
    for optimizer, loss in enumerate((first, second)):
        frame = run.steps.copy()
        frame["optimizer"], frame["global_step"] = optimizer, 2 * frame["step"] + optimizer
        frame["mean_loss"] = frame["objective"] = loss
        if shared and optimizer:
            frame["mean_loss"] = frame["objective"] = numpy.nan
            frame["loss"], frame["micro_steps"] = -1, 0
        frames.append(frame)
    write_table(path / "rank00000", "steps", pandas.concat(frames))
    meta = msgspec.structs.replace(run.meta, optimizers=[OptimizerFacts(id=i, optimizer_class="Adam") for i in (0, 1)])
    (path / "run.json").write_bytes(msgspec.json.encode(meta))
    return load(path)
