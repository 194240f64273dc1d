"""Calls of loss functions, as numbers: of one, and of many together."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gradaudit.record.internals import private
from gradaudit.record.measure.samples import Sample
from gradaudit.record.observe.loss.labels import Ignored


@dataclass(eq=False, slots=True)
class LossCall:
    """One call of a loss function; numbers stay on the device, if it is not the CPU."""

    loss: int
    mean: torch.Tensor | float  # mean loss per valid target
    valid: torch.Tensor | int
    ignored: torch.Tensor | int
    batch_size: int
    node: Any = None  # what `node_key` says of its result: the node itself would keep the whole graph alive
    sample: Sample | None = None  # of its input, where one was taken
    told: Ignored | None = None  # wants to know how many targets were ignored, once that is here


def node_key(node: Any) -> Any:
    """What tells an autograd node from the others of its thread, without holding it."""
    number = private(node, "_sequence_nr")
    return None if number is None else (number(), node.name())


def wide(value: torch.Tensor | float) -> Any:
    """A tensor as float64; a number as it is."""
    return value.double() if isinstance(value, torch.Tensor) else value


def together(calls: list[LossCall]) -> list[LossCall]:
    """One call for each loss function, with the mean over all valid targets: for accumulation over very many calls."""
    merged: dict[int, LossCall] = {}
    for call in calls:
        one = merged.get(call.loss)
        if one is None:
            merged[call.loss] = call
            continue
        valid = one.valid + call.valid
        weighed = wide(one.mean) * one.valid + wide(call.mean) * call.valid
        mean = weighed / max(1, valid) if isinstance(valid, int) else weighed / valid.clamp(min=1)
        batch_size = one.batch_size + call.batch_size
        merged[call.loss] = LossCall(call.loss, mean, valid, one.ignored + call.ignored, batch_size)
    return list(merged.values())


def arguments_of(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """A binder that names the positional arguments of `function`, several times faster than Signature.bind."""
    parameters = inspect.signature(function).parameters
    names = list(parameters)
    defaults = {name: item.default for name, item in parameters.items() if item.default is not item.empty}

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}

    return bind
