"""Counts what makes the host wait for a device, without a device: every operation that our frames call is looked at."""

import sys
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operations whose result has a shape or a value that the host must know.
WAITING = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::bincount", "aten::_unique",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::unique_dim_consecutive",
    "aten::_coalesce", "aten::repeat_interleave", "aten::equal", "aten::histc", "aten::segment_reduce",
}  # fmt: skip
COPYING = {"aten::copy_", "aten::_to_copy", "aten::_copy_from"}
# Kernels that fetch an argument on the CPU to their device, or count what a boolean mask holds.
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
FETCHING = {*INDEXING, "aten::where"}


class Synchronisations(TorchDispatchMode):
    """`found`: each operation called by gradaudit that would wait for a device, with the line that calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.seen = 0  # operations on a device that were called by us

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        line = _our_line()
        if line is not None:
            tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            self.seen += any(_on_device(tensor.device) for tensor in tensors)
            if _waits(func._schema.name, tensors, args, kwargs):
                self.found.append(f"{line}: {func}")
        return func(*args, **kwargs)


def _on_device(device: torch.device) -> bool:
    return device.type != "cpu"


def _waits(name: str, tensors: list[torch.Tensor], args: Any, kwargs: Any) -> bool:
    there = [_on_device(tensor.device) for tensor in tensors]
    if name in COPYING:
        target = torch.device(kwargs.get("device") or tensors[0].device)
        # From memory that is not pinned even a copy that need not be waited for is.
        lost = kwargs.get("non_blocking") or (name == "aten::copy_" and args[2:3] == (True,))
        return not lost and len({*there, _on_device(target)}) == 2
    if not any(there):
        return False
    masks = name in INDEXING and any(tensor.dtype == torch.bool for tensor in tensors[1:2])
    return name in WAITING or masks or (name in FETCHING and not all(there))


def _our_line() -> str | None:
    """The innermost line of gradaudit on the stack."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("gradaudit."):
            return f"{frame.f_globals['__name__']}:{frame.f_lineno}"
        frame = frame.f_back
    return None
