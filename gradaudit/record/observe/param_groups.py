"""The options of an optimizer's parameter groups, as numbers."""

import math
from typing import Any

import torch

from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.schema import OptimizerFacts


def number(value: Any) -> float:
    """An option as a float; NaN for what is none, or is on a device."""
    if type(value) is float:
        return value
    if isinstance(value, torch.Tensor):
        # Capturable optimizers keep the learning rate on the device, and reading it would wait for it.
        return float(value) if value.device.type == "cpu" else math.nan
    return float(value) if isinstance(value, int | float) else math.nan


def momentum(group: dict[str, Any]) -> float:
    """A group's momentum, or its first beta."""
    betas = group.get("betas")
    return number(betas[0] if isinstance(betas, tuple | list) and betas else group.get("momentum", 0.0))


def facts_of(index: int, optimizer: OptimizerLike) -> OptimizerFacts:
    """What is known of an optimizer when it makes its first step."""
    defaults: dict[str, Any] = {}
    for name, value in optimizer.defaults.items():
        if value is None or isinstance(value, bool | int | float):
            defaults[str(name)] = value if value is None or isinstance(value, bool) else float(value)
        elif isinstance(value, tuple | list) and all(isinstance(item, int | float) for item in value):
            defaults[str(name)] = [float(item) for item in value]
    return OptimizerFacts(
        id=index, optimizer_class=type(optimizer).__name__, groups=len(optimizer.param_groups), defaults=defaults
    )
