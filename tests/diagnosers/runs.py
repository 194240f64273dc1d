"""Small synthetic runs, healthy and sick, that the tests of diagnosers share."""

from pathlib import Path
from typing import Any

import numpy

from gradaudit.run import Run
from gradaudit.schema import LossFacts, ModuleFacts, TensorFacts
from tests.build import build_run, linear_stack

TEN = LossFacts(id=0, function="cross_entropy", classes=10, label_counts=[320] * 10, label_entropy=float(numpy.log(10)))


def falling(steps: int = 200, first: float = 2.31, last: float = 0.3, noise: float = 0.02) -> Any:
    """[steps]: a loss that falls from `first` to near `last`, with a little noise."""
    random = numpy.random.default_rng(0)
    curve = last + (first - last) * numpy.exp(-numpy.arange(steps) / (steps / 6))
    curve[1:] *= 1 + noise * random.standard_normal(steps - 1)
    return curve


def flat(steps: int = 200, level: float = 2.303, noise: float = 0.005) -> Any:
    """[steps]: a loss that stays where it is."""
    return level * (1 + noise * numpy.random.default_rng(1).standard_normal(steps))


# What a healthy run must have for a rule that looks at something special to be satisfied and not "not applicable".
HEALTHY_WITH: dict[str, dict[str, Any]] = {
    "excessive_weight_decay": {"stats": {"update_weight_cosine": -0.05}},
    "noise_module": {"stats": {"gradient_cosine": 0.3}},
    "amp_overflow": {"steps": {"amp_scale": 65536.0}},
    "small_batch_normalization": {
        "modules": [ModuleFacts(id=0, name="norm", module_class="BatchNorm1d", batch_norm=True)]
    },
    "validation_better_than_train": {"modules": [ModuleFacts(id=0, name="", module_class="Net")]},
}


def healthy(path: Path, **changes: Any) -> Run:
    """A classifier of ten classes behind an embedding that trains as it should; `changes` go to `build_run`."""
    tensors = linear_stack(embedding=50)
    loss = changes.pop("loss", None)
    loss = falling() if loss is None else loss
    held_out = [(step, "validation", float(1.05 * loss[step])) for step in range(0, len(loss), 20)]
    settings: dict[str, Any] = {
        "tensors": tensors,
        "facts": TEN,
        "evaluations": held_out,
        "rows": embedding_rows(len(loss), tensor=0, rows=50, hit=30),
        **changes,
    }
    return build_run(path / "run", loss=loss, **settings)


def embedding_rows(steps: int, tensor: int, rows: int, hit: int, **last: Any) -> list[dict[str, Any]]:
    """Table `rows` of one embedding at every tenth step; `last` overrides the last record."""
    records = []
    for step in range(0, steps, 10):
        ever = min(rows, hit + step)
        records.append(
            {"optimizer": 0, "step": step, "tensor": tensor, "rows": rows, "tracked": rows, "hit": hit,
             "ever_hit": ever, "moved": ever, "stopped": 0, "checksum": step, "hits_histogram": [rows - ever, 0, ever],
             "movement": [float("nan"), float("nan"), 0.1], "never_hit_rows": [], "stopped_rows": []}
        )  # fmt: skip
    records[-1].update(last)
    return records


def parameters(count: int) -> list[TensorFacts]:
    """`count` weight layers without biases."""
    return [
        TensorFacts(id=layer, name=f"layers.{layer}.weight", role="weight", module=f"layers.{layer}",
                    module_class="Linear", shape=[32, 32], depth=layer, optimizer=0, group=0)
        for layer in range(count)
    ]  # fmt: skip
