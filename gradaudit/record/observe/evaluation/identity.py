"""What tells one object of a script from another, without keeping it alive, and whether it may be a data set."""

import types
import weakref
from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

Token = Hashable  # None for what is no data
_SETS = (DataLoader, Dataset, IterableDataset, Sampler, types.GeneratorType)
_NEITHER = (
    torch.nn.Module, torch.optim.Optimizer, torch.device, torch.dtype, type, types.ModuleType, types.FunctionType,
    types.BuiltinFunctionType, types.MethodType, bool, int, float, complex, bytes, type(None),
)  # fmt: skip
_MOST = 10_000  # objects known at a time
_MOST_ITEMS = 4  # of a tuple, or of a variable's attributes that may be a loader
_DEEPEST = 3  # containers in containers


class _Known:
    """An object that was seen; no later one is taken for it."""

    def __init__(self, value: Any) -> None:
        self.held = weakref.ref(value)


_known: dict[int, _Known] = {}


def forget() -> None:
    """Start anew."""
    _known.clear()


def token(value: Any, depth: int = 0) -> Token:
    """The same for the same object as long as it lives, and for no other one; a string is its text."""
    if isinstance(value, str):
        return value
    if isinstance(value, _NEITHER) or depth > _DEEPEST:
        return None
    if isinstance(value, DataLoader):
        return token(value.dataset, depth)  # loaders are made anew for each pass
    if isinstance(value, tuple | list | dict):
        # What holds the same things is the same data; only tuples do not grow.
        most = _MOST_ITEMS if isinstance(value, tuple) else 1
        parts = tuple(token(item, depth + 1) for item in _first(value, most))
        return parts if any(part is not None for part in parts) else None
    entry = _known.get(id(value))
    if entry is not None and entry.held() is value:
        return entry
    try:
        entry = _Known(value)
    except TypeError:  # made without a place for weak references
        return None
    if len(_known) >= _MOST:
        _known.clear()
    _known[id(value)] = entry
    return entry


def number(value: Any) -> Token:
    """The value of a number, else its token: numbers that are written out as those of a loop choose its data."""
    return value if isinstance(value, int | float) else token(value)


def alive(found: Token) -> bool:
    """Whether all that a token stands for still exists."""
    if isinstance(found, tuple):
        return all(map(alive, found))
    return found.held() is not None if isinstance(found, _Known) else True


def gives_batches(value: Any) -> bool:
    """Whether going over `value` gives batches or examples: a loader, a generator, a tensor, or what holds a loader."""
    if isinstance(value, (*_SETS, torch.Tensor, Iterator)):
        return True
    held = {} if isinstance(value, dict | list | tuple) else attributes_of(value)
    return any(isinstance(each, DataLoader) for each in list(held.values())[:_MOST])


def attributes_of(value: Any) -> dict[str, Any]:
    """The attributes that an object holds, without running the code of a class that computes them."""
    try:
        held = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return held if isinstance(held, dict) else {}


def is_set(value: Any, depth: int = 0) -> bool:
    """Whether `value` is surely a data set and no batch: a loader, a data set, a generator, or what holds one."""
    if isinstance(value, _SETS):
        return True
    return (
        isinstance(value, tuple | list | dict)
        and depth < _DEEPEST
        and any(is_set(item, depth + 1) for item in _first(value, _MOST_ITEMS))
    )


def _first(value: Any, most: int) -> list[Any]:
    """The first items, as the built-in class has them."""
    if isinstance(value, dict):
        return [part for item, _ in zip(dict.items(value), range(most), strict=False) for part in item]
    kind = tuple if isinstance(value, tuple) else list
    return [item for item, _ in zip(kind.__iter__(value), range(most), strict=False)]
