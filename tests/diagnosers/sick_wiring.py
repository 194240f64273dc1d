"""Sick runs of the rules about wiring: parameters that rest, gradients that stay, modes that are wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import ModuleFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling

NAN = float("nan")
DROPOUT = [
    ModuleFacts(id=0, name="", module_class="Net"),
    ModuleFacts(id=1, name="drop", module_class="Dropout", dropout=0.1),
    ModuleFacts(id=2, name="norm", module_class="BatchNorm2d", batch_norm=True),
]


def resting(
    path: Path, which: tuple[int, ...] = (0, 1), *, gradient: float = 0.1, has_grad: bool = True,
    facts: dict[str, Any] | None = None, **changes: Any,
) -> Run:  # fmt: skip
    """A stack of four linear layers of which the tensors `which` never move; `facts` changes what is known of them.

    `values` are further statistics.
    """
    tensors = changes.pop("tensors", None) or linear_stack()
    tensors = [msgspec.structs.replace(t, **(facts or {})) if t.id in which else t for t in tensors]
    at = numpy.isin(numpy.arange(len(tensors)), which)
    stats = {
        "update_norm": numpy.where(at, 0.0, 1e-3),
        "drift_norm": numpy.where(at, 0.0, 0.1),
        "gradient_norm": numpy.where(at, gradient if has_grad else NAN, 0.1),
        "has_grad": ~at | has_grad,
        **changes.pop("values", {}),
    }
    return build_run(path, tensors=tensors, stats=stats, **{"loss": falling(), "facts": TEN, **changes})


def calls(order: dict[str, int], **more: Any) -> list[ModuleFacts]:
    """Modules whose calls were watched for, by name with the place of their first call; -1 of one that had none."""
    return [
        ModuleFacts(id=index, name=name, module_class="Linear" if name else "Net", watched=20, first_call=place, **more)
        for index, (name, place) in enumerate({"": 0, **order}.items())
    ]


IN_ORDER = {f"layers.{layer}": layer + 1 for layer in range(4)}


def dropped(path: Path) -> Run:
    """A layer as torch.nn draws it, which is called, and whose result no loss depends on."""
    uniform = {"weight_max_abs": 3**0.5 / 32}
    return resting(path, (4, 5), has_grad=False, modules=calls(IN_ORDER), values=uniform)


def outside(path: Path, which: tuple[int, ...] = (2, 3), **changes: Any) -> Run:
    """The tensors `which` are in no optimizer."""
    return resting(path, which, facts={"optimizer": -1, "group": -1}, **changes)


def never_zeroed(path: Path, share: float = 1.0) -> Run:
    """The gradients are not zeroed before the first `share` of 200 steps."""
    stale = (numpy.arange(200) < share * 200).astype(int)
    stale[0] = -1
    return build_run(path, loss=falling(), facts=TEN, steps={"stale": stale})


def evaluating(path: Path, share: float = 1.0, **changes: Any) -> Run:
    """The last `share` of 200 steps is trained in evaluation mode."""
    training = (numpy.arange(200) < 200 - share * 200).astype(int)
    return build_run(path, loss=falling(), facts=TEN, steps={"training": training}, **{"modules": DROPOUT, **changes})


def evaluated_in_training(path: Path, mode: Any = 1, split: str = "validation", **changes: Any) -> Run:
    """Ten evaluations made in training mode."""
    loss = falling()
    evaluations = [(step, split, float(1.1 * loss[step])) for step in range(0, 200, 20)]
    return build_run(
        path, loss=loss, facts=TEN, evaluations=evaluations, evaluating=mode, **{"modules": DROPOUT, **changes}
    )


def rounded_away(path: Path, unchanged: Any = 0.9, dtype: str = "bfloat16", **changes: Any) -> Run:
    """Weights in half precision; a step leaves this share of them as they were."""
    tensors = [msgspec.structs.replace(tensor, dtype=dtype) for tensor in linear_stack()]
    stats = {"unchanged_fraction": unchanged, **changes.pop("stats", {})}
    return build_run(path, loss=falling(), tensors=tensors, stats=stats, **changes)


WIRING: dict[str, dict[str, tuple[Callable[[Path], Run], float]]] = {
    "frozen_parameter": {
        "": (resting, 0),
        "least_steps": (resting, 1e9),
        "backbone": (lambda path: outside(path, (2, 3, 4, 5, 6, 7)), 1.0),
        "ignored": (dropped, 1.0),
        "rounded": (rounded_away, 1.0),
        "faint": (lambda path: resting(path, (2,), gradient=1e-6), 0.0),
    },
    "stale_gradient": {
        "": (never_zeroed, 0),
        "always": (never_zeroed, 1.0),
        "often": (lambda path: never_zeroed(path, 0.5), 1.0),
        "least_steps": (never_zeroed, 1e9),
    },
    "eval_mode_training": {
        "": (evaluating, 0),
        "most": (lambda path: evaluating(path, 0.95), 1.0),
        "tail": (lambda path: evaluating(path, 0.5), 1.0),
    },
    "train_mode_evaluation": {
        "": (evaluated_in_training, 0),
        "most": (evaluated_in_training, 1.0),
    },
}
