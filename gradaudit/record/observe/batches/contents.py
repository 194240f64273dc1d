"""The tensors of a batch, by their places in it: tuples, lists and dictionaries, two levels deep."""

from collections import UserDict
from collections.abc import Iterator
from typing import Any

import torch

_MOST = 32  # tensors
_MOST_ENTRIES = 64  # of one level
_DEEPEST = 3
_LONGEST = 40  # characters of a key


def tensors_of(batch: Any) -> dict[str, torch.Tensor]:
    """The plain tensors with values; a key that is no name is told by its number, since it may be data."""
    found: dict[str, torch.Tensor] = {}
    for place, tensor in _walk(batch, "", 0):
        if len(found) >= _MOST:
            break
        found[place or "0"] = tensor
    return found


def sequences_of(tensors: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Those on the CPU that are [examples, positions] of whole numbers."""
    return [each for each in tensors.values() if each.ndim == 2 and each.dtype == torch.int64 and each.is_cpu]


def _walk(value: Any, place: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    if type(value) is torch.Tensor:
        if value.layout is torch.strided and not value.is_meta and not value.is_nested:
            yield place, value
    elif depth < _DEEPEST:
        for name, each in _entries(value):
            yield from _walk(each, f"{place}.{name}" if place else name, depth + 1)


def _entries(value: Any) -> list[tuple[str, Any]]:
    # What the script made itself is not asked for its entries: that may run the script's code.
    if isinstance(value, UserDict):
        value = vars(value).get("data")
    if isinstance(value, dict):
        keys = list(dict.keys(value))[:_MOST_ENTRIES]
        named = [key if isinstance(key, str) and key.isidentifier() and len(key) <= _LONGEST else "" for key in keys]
        return [
            (name or str(number), dict.__getitem__(value, key))
            for number, (name, key) in enumerate(zip(named, keys, strict=True))
        ]
    if isinstance(value, tuple):
        return [(str(number), each) for number, each in enumerate(tuple.__iter__(value)) if number < _MOST_ENTRIES]
    if isinstance(value, list):
        return [(str(number), each) for number, each in enumerate(list.__iter__(value)) if number < _MOST_ENTRIES]
    return []
