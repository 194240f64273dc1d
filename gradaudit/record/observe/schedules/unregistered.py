"""Modules and parameters that a module keeps in a plain list, tuple or dict, where no optimizer finds them."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from gradaudit.record.internals import version_of
from gradaudit.record.observe.naming import children_of, own, registered, walk
from gradaudit.record.observe.optimizers import known
from gradaudit.record.settings import in_utf8
from gradaudit.schema import UnregisteredFacts

_MOST_MODULES = 4096  # looked through
_MOST_ENTRIES = 256  # of one list
_MOST_FOUND = 16
_OWN = frozenset({"_parameters", "_modules", "_buffers", "_non_persistent_buffers_set"})  # torch's own


class _Kept(NamedTuple):
    """What one attribute of a module keeps."""

    holder: Any
    attribute: str
    container: str
    parameters: list[torch.Tensor]


class Unregistered:
    """What was seen at the looks. Used under the recording's lock."""

    def __init__(self) -> None:
        self.found: list[UnregisteredFacts] = []
        self._looks: dict[tuple[int, str], tuple[int, list[int]]] = {}  # looks, and versions at the first one

    def look(self) -> None:
        """Look through the modules that exist, with the gradients of a step in place."""
        modules = [one for one in registered() if isinstance(one, nn.Module)][:_MOST_MODULES]
        kept = [one for module in modules for one in _kept_by(module)]
        # Most models keep nothing so: the optimizers are not gone through for them.
        owned = {id(p) for each in known() for group in each.param_groups for p in group["params"]} if kept else set()
        places = _places(modules) if kept else {}
        looks: dict[tuple[int, str], tuple[int, list[int]]] = {}
        found: list[UnregisteredFacts] = []
        for one in kept:
            path, inside = places.get(id(one.holder), ("", frozenset()))
            # A list beside the registered ones, as that of the weights of nn.LSTM, loses nothing.
            strange = (p for p in one.parameters if id(p) not in owned and id(p) not in inside)
            lost = [p for p in strange if p.requires_grad and p.grad is not None]
            key, versions = (id(one.holder), one.attribute), [version_of(p) for p in lost]
            before, first = self._looks.get(key, (0, versions))
            # What the script changes by hand has an owner.
            if not lost or versions != first or len(found) >= _MOST_FOUND:
                continue
            looks[key] = before + 1, first
            found.append(
                UnregisteredFacts(
                    name=in_utf8(f"{path}.{one.attribute}" if path else one.attribute),
                    holder=in_utf8(type(one.holder).__name__),
                    container=one.container,
                    tensors=len(lost),
                    elements=sum(p.numel() for p in lost),
                    modules=sum(isinstance(each, nn.Module) for each in _entries(vars(one.holder)[one.attribute])),
                    looks=before + 1,
                )
            )
        self.found, self._looks = found, looks


def _kept_by(module: nn.Module) -> Iterator[_Kept]:
    """What of a module's attributes holds modules or parameters without registering them."""
    for attribute, value in list(vars(module).items()):
        if attribute in _OWN or type(value) not in (list, tuple, dict) or not value:
            continue
        parameters = [p for each in _entries(value) for p in _parameters(each)]
        if parameters:
            yield _Kept(module, attribute, type(value).__name__, parameters)


def _entries(value: Any) -> list[Any]:
    values = list(value.values()) if isinstance(value, Mapping) else list(value)
    return values[:_MOST_ENTRIES]


def _parameters(entry: Any) -> list[torch.Tensor]:
    if isinstance(entry, nn.Parameter):
        return [entry]
    if isinstance(entry, nn.Module):
        return [p for _, inner in walk(entry) for p in own(inner).values() if p is not None]
    return []


def _places(modules: list[nn.Module]) -> dict[int, tuple[str, frozenset[int]]]:
    """The path of each module in its outermost one, and the parameters that this one has registered."""
    children = {id(child) for module in modules for child in children_of(module).values() if child is not None}
    found: dict[int, tuple[str, frozenset[int]]] = {}
    for root in modules:
        if id(root) in children:
            continue
        paths = list(walk(root))[:_MOST_MODULES]
        inside = frozenset(id(p) for _, one in paths for p in own(one).values() if p is not None)
        found |= {id(one): (path, inside) for path, one in paths}
    return found
