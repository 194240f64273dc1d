"""Looks at modules that the script, or another thread of it, may be changing."""

from collections.abc import Callable, Sequence, Set
from typing import Any

from torch import nn

_TRIES = 5


def in_training(module: nn.Module) -> bool:
    """Whether a module is in training mode: not where its own flag was left behind on by what wraps a model."""
    if not module.training:
        return False
    parts = [child for child in module.children() if next(child.parameters(), None) is not None]
    return not parts or any(in_training(part) for part in parts)


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
