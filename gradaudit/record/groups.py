"""The options of an optimizer's parameter groups, as numbers."""

import math
from typing import Any

import torch


def number(value: Any) -> float:
    """An option as a float; NaN for what is none, or is on a device."""
    if isinstance(value, torch.Tensor):
        # Capturable optimizers keep the learning rate on the device, and reading it would wait for it.
        return float(value) if value.device.type == "cpu" else math.nan
    return float(value) if isinstance(value, int | float) else math.nan


def momentum(group: dict[str, Any]) -> float:
    """A group's momentum, or its first beta."""
    betas = group.get("betas")
    return number(betas[0] if isinstance(betas, tuple | list) and betas else group.get("momentum", 0.0))
