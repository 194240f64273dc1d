"""Hook: the optimizer's step, through torch's own global hooks, armed when the first optimizer is built."""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import optimizer as optimizers

from gradaudit.record import every_step, hooks, session
from gradaudit.record.by_hand.hands import BY_HAND
from gradaudit.record.observe import optimizers as made
from gradaudit.record.observers import CLOSURES, OPTIMIZERS
from gradaudit.record.patches import Patch, leave_out_of, replace

_handles: list[Any] = []
_arming_once = threading.Lock()


def install() -> list[Patch]:
    """Arm the hooks with the first parameter group that any optimizer gets.

    Arming imports the compiler, which building any optimizer imports as well; doing it with
    ``import torch`` would double that import's time.
    """
    return [replace(optimizers.Optimizer, "add_param_group", _arming(optimizers.Optimizer.add_param_group))]


def arm() -> None:
    """Register the hooks, outside of any compiled graph."""
    if _handles:
        return
    # Importing the compiler takes long, and another thread may build an optimizer meanwhile.
    with _arming_once:
        if not _handles:
            _arm()


def _arm() -> None:
    # Without `disable` a compiled optimizer breaks its graph three times for the hook; with it, not at all.
    disable: Any = torch.compiler.disable
    before, after = disable(_before), disable(_after)
    _handles.append(optimizers.register_optimizer_step_pre_hook(before))
    _handles.append(optimizers.register_optimizer_step_post_hook(after))


def _renew_lock() -> None:
    global _arming_once
    _arming_once = threading.Lock()


# A child forked while another thread is arming would wait for it for ever.
os.register_at_fork(after_in_child=_renew_lock)


def disarm() -> None:
    """Remove the hooks."""
    while _handles:
        _handles.pop().remove()


def _arming(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def add_param_group(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not torch.compiler.is_compiling():
            session.unlocked_call(OPTIMIZERS, arm)
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        if not torch.compiler.is_compiling():
            session.unlocked_call(BY_HAND, made.add, self)
            session.guarded(hooks.on_param_group, self)
        return result

    return add_param_group


def _before(optimizer: Any, args: Any, kwargs: Any) -> Any:
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if not every_step.before_step(optimizer, closure):
        return None
    given = session.guarded_call(CLOSURES, _with_watched, closure, optimizer, args, kwargs)
    if given is None:
        session.guarded(hooks.without_closure)
    return given


def _with_watched(closure: Callable[[], Any], optimizer: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of the step, with the closure watched."""
    watched = _watched(closure, optimizer)
    if "closure" in kwargs:
        return args, {**kwargs, "closure": watched}
    return (args[0], watched, *args[2:]), kwargs


def _watched(closure: Callable[[], Any], optimizer: Any) -> Callable[[], Any]:
    """`closure`, after each call of which the recording looks at `optimizer`: before it there are no gradients."""

    def call() -> Any:
        try:
            result = closure()
        except BaseException as error:
            leave_out_of(error)
            raise
        session.guarded(hooks.after_closure, optimizer)
        return result

    return call


def _after(optimizer: Any, args: Any, kwargs: Any) -> None:
    every_step.after_step(optimizer)
