"""Patch: torch.nn.functional's dropout, which tells where it is active in evaluations.

Where gradients are enabled nothing is looked at: a training pays for one call of Python.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record import hooks, session
from gradaudit.record.patches import Patch, leave_out_of, replace, scriptable

NAMES = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")


def install() -> list[Patch]:
    """Wrap the functions that every dropout module calls."""
    place = torch.nn.functional
    return [replace(place, name, _watched(name, getattr(place, name))) for name in NAMES if hasattr(place, name)]


def _watched(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    known = inspect.signature(original).parameters
    default = known["training"].default

    @functools.wraps(original)
    def dropout(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or session.current() is None:
            return original(*args, **kwargs)
        p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
        said = len(args) > 2 or "training" in kwargs
        training = args[2] if len(args) > 2 else kwargs.get("training", default)
        if training and p:
            session.guarded(hooks.on_active, name, p, said)
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return scriptable(dropout, original)
