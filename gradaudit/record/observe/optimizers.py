"""The optimizers of torch's kind that the script has made, and what stands for a script that has none."""

import contextlib
import weakref
from typing import Any, Protocol

import torch

_known: "weakref.WeakSet[Any]" = weakref.WeakSet()


def add(optimizer: Any) -> None:
    """Remember an optimizer while it exists: what it holds is its to change."""
    with contextlib.suppress(TypeError):  # a class without weak references, or without a hash
        _known.add(optimizer)


def known() -> list[Any]:
    """The optimizers that exist."""
    return list(_known)


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
