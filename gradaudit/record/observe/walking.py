"""Looks at modules that the script, or another thread of it, may be changing."""

import weakref
from collections.abc import Callable, Sequence, Set
from typing import Any

from torch import nn

from gradaudit.record.internals import private

_TRIES = 5

Way = list[weakref.ref[nn.Module]]


def in_training(module: nn.Module) -> bool:
    """Whether a module is in training mode: not where its own flag was left behind on by what wraps a model."""
    return bool(way_to_training(module))


def way_to_training(module: nn.Module) -> Way:
    """The modules, from this one inward, whose flags tell that it is in training mode; empty where it is not."""
    if not module.training:
        return []
    alone = True
    for child in _parts_of(module):
        if _has_parameters(child):
            way = way_to_training(child)
            if way:
                return [weakref.ref(module), *way]
            alone = False
    return [weakref.ref(module)] if alone else []


def lit(way: Way) -> bool:
    """Whether there is a way, and its modules are in training mode still."""
    for reference in way:
        module = reference()
        if module is None or not module.training:
            return False
    return bool(way)


def _parts_of(module: nn.Module) -> list[nn.Module]:
    # Asked several times a step: torch's own iterators take ten times as long.
    known = private(module, "_modules")
    return list(module.children()) if known is None else [child for child in known.values() if child is not None]


def _has_parameters(module: nn.Module) -> bool:
    own = private(module, "_parameters")
    if own is None:
        return next(module.parameters(), None) is not None
    return any(one is not None for one in own.values()) or any(map(_has_parameters, _parts_of(module)))


def holding(identities: Set[int], modules: Sequence[nn.Module]) -> list[nn.Module]:
    """The modules that hold one of the tensors with these identities."""
    return [module for module in modules if not identities.isdisjoint(map(id, module.parameters()))]


def steadily(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that walks modules, again where another thread built one meanwhile."""
    for _ in range(_TRIES):
        try:
            return function(*arguments)
        except RuntimeError as error:
            if "changed size" not in str(error):
                raise
    return function(*arguments)
