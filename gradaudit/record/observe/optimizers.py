"""The optimizers of torch's kind that the script has made, and what stands for a script that has none."""

import contextlib
import functools
import weakref
from typing import Any, Protocol

import torch

_known: dict[int, weakref.ref[Any]] = {}  # by identity: a WeakSet takes ten times as long to go over


def add(optimizer: Any) -> None:
    """Remember an optimizer while it exists: what it holds is its to change."""
    key = id(optimizer)
    known_as = _known.get(key)
    if known_as is None or known_as() is not optimizer:
        with contextlib.suppress(TypeError):  # a class without weak references
            _known[key] = weakref.ref(optimizer, functools.partial(_forget, key))


def _forget(key: int, reference: weakref.ref[Any]) -> None:
    # Another optimizer may have its address by now.
    if _known.get(key) is reference:
        del _known[key]


def known() -> list[Any]:
    """The optimizers that exist."""
    return [optimizer for reference in list(_known.values()) if (optimizer := reference()) is not None]


def any_known() -> bool:
    """Whether there is an optimizer."""
    return bool(_known)


def several_known() -> bool:
    """Whether more than one optimizer exists."""
    return len(_known) > 1


class OptimizerLike(Protocol):
    """An optimizer of torch, or what stands for another one: a framework's, or a script that has none."""

    defaults: dict[str, Any]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameters and options."""


class ByHand:
    """What stands for the optimizer of a script that changes its parameters itself."""

    def reached(self) -> list[torch.Tensor]:
        """The parameters that the last backwards gave gradients to."""
        raise NotImplementedError

    def follows_the_gradients(self) -> bool:
        """Whether the update is known to be a multiple of the gradients."""
        raise NotImplementedError
