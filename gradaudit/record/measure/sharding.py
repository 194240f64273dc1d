"""Which part of a tensor this rank holds. Nothing here asks another rank, so nothing waits for one."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from gradaudit.record.internals import private


class Part(NamedTuple):
    """A tensor's whole shape, how it is laid over the ranks, and the elements that this rank's values stand for."""

    shape: list[int]
    placements: list[str]
    share: int


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's shard of a distributed tensor, or the tensor itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def part_of(parameter: Any, flattened: dict[int, list[int]]) -> Part:
    """The part of `parameter` that is here; `flattened` is what `flattened_shapes` gave for its model."""
    if hasattr(parameter, "to_local"):
        placements = [str(placement) for placement in parameter.placements]
        return Part(list(parameter.shape), placements, local(parameter).numel() if _first_replica(parameter) else 0)
    if id(parameter) in flattened:
        return Part(flattened[id(parameter)], ["Flat"], parameter.numel())
    return Part(list(parameter.shape), [], parameter.numel())


def _first_replica(parameter: Any) -> bool:
    """Whether this rank is the first of those that hold the same shard; only its values count."""
    coordinate = parameter.device_mesh.get_coordinate()
    if coordinate is None:
        return False
    return not any(
        place and placement.is_replicate() for place, placement in zip(coordinate, parameter.placements, strict=True)
    )


def flattened_shapes(modules: Iterable[nn.Module]) -> dict[int, list[int]]:
    """The whole shapes of the parameters that FullyShardedDataParallel (use_orig_params) cut up, by identity."""
    shapes = {}
    for module in modules:
        handle = private(module, "_handle") if type(module).__name__ == "FullyShardedDataParallel" else None
        if handle is None or not handle.uses_sharded_strategy:
            continue
        flat = handle.flat_param
        # Without use_orig_params the original parameters are gone, and only the flat one is left.
        for parameter, shape in zip(private(flat, "_params") or (), private(flat, "_shapes") or (), strict=False):
            shapes[id(parameter)] = list(shape)
    return shapes


def class_name(module: nn.Module) -> str:
    """The class as the script wrote it: fully_shard and parametrize give a module a class of its own."""
    kind: type = type(module)
    while (made := _made_from(kind)) is not None:
        kind = made
    return kind.__name__


def _made_from(kind: type) -> type | None:
    for base in kind.__bases__:
        if kind.__name__ in (f"FSDP{base.__name__}", f"DDP{base.__name__}", f"Parametrized{base.__name__}"):
            return base
    return None
