"""The options of an optimizer's parameter groups, as numbers."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

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


class Settings(NamedTuple):
    """The options of an optimizer's groups: as they were found, and what the table `steps` has of them."""

    options: list[tuple[Any, ...]]
    rates: list[float]
    decays: list[float]
    momenta: list[float]


_OPTIONS = ("lr", "weight_decay", "betas", "momentum")


def settings_of(groups: Sequence[dict[str, Any]]) -> Settings:
    """The options of an optimizer's groups."""
    return Settings(
        [tuple(map(group.get, _OPTIONS)) for group in groups],
        [number(group.get("lr")) for group in groups],
        [number(group.get("weight_decay", 0.0)) for group in groups],
        [momentum(group) for group in groups],
    )


def unchanged(group: dict[str, Any], known: tuple[Any, ...]) -> bool:
    """Whether the options of a group are those `known`; what can be changed in place never is."""
    rate, decay, betas, momentum = known
    fixed = type(rate) is float and type(betas) is not list
    same = group.get("lr") is rate and group.get("weight_decay") is decay
    return fixed and same and group.get("betas") is betas and group.get("momentum") is momentum


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


def have_shape(groups: Sequence[dict[str, Any]], shape: tuple[int, ...]) -> bool:
    """Whether the groups of an optimizer have these numbers of parameters."""
    if len(groups) == 1 == len(shape):
        return len(groups[0]["params"]) == shape[0]
    return tuple([len(group["params"]) for group in groups]) == shape
