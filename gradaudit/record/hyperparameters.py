"""What an optimizer says of itself at a step: where on the stack it is, and the numbers of its groups."""

import math
import sys
from typing import Any

import torch


def wrapper_frame() -> Any:
    """The frame of the optimizer's own step wrapper that called the hook."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "wrapper" and frame.f_code.co_filename.endswith("optimizer.py"):
            return frame
        frame = frame.f_back
    return None


def number_of(value: Any) -> float:
    """A learning rate or the like; NaN when it is no number or lies on a device."""
    if isinstance(value, torch.Tensor):
        # Capturable optimizers keep the learning rate on the device, and reading it would wait for it.
        return float(value) if value.device.type == "cpu" else math.nan
    return float(value) if isinstance(value, int | float) else math.nan


def momentum_of(group: dict[str, Any]) -> float:
    """The momentum of a parameter group, or Adam's first beta."""
    betas = group.get("betas")
    return number_of(betas[0] if isinstance(betas, tuple | list) and betas else group.get("momentum", 0.0))
