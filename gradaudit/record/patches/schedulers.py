"""Patch: learning rate schedulers, as they are made and at each call of `step`."""

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import lr_scheduler

from gradaudit.record import schedule_hooks, session
from gradaudit.record.observe.schedules import SCHEDULES
from gradaudit.record.patches import Patch, leave_out_of, replace

_OURS: set[Callable[..., Any]] = set()
_of_subclasses: list[Patch] = []


class _Running(threading.local):
    """Whether this thread is inside the step of a scheduler: those inside are parts of it."""

    inside = False


_running = _Running()


def install() -> list[Patch]:
    """Wrap `step` of each scheduler class of torch, and `__init__` of those that others rest on."""
    classes = [one for _, one in inspect.getmembers(lr_scheduler, inspect.isclass)]
    patches = []
    for one in dict.fromkeys(classes):
        if not issubclass(one, lr_scheduler.LRScheduler):
            continue
        if "step" in vars(one):
            patches.append(replace(one, "step", _step(one.step)))
        # Those that are made of others, and ReduceLROnPlateau, do not call the constructor of their base class.
        if "__init__" in vars(one) and one.__name__ in _ON_THEIR_OWN:
            patches.append(replace(one, "__init__", _init(one.__init__)))
    return patches


_ON_THEIR_OWN = ("LRScheduler", "SequentialLR", "ChainedScheduler", "ReduceLROnPlateau")


class Subclasses:
    """Stands for the patches of classes that scripts made themselves."""

    def remove(self) -> None:
        """Undo them."""
        while _of_subclasses:
            _of_subclasses.pop().undo()


def _watch(kind: type) -> None:
    """Wrap `step` of a scheduler's class, and of those that it rests on, where it is not torch's."""
    for one in kind.__mro__:
        own = vars(one).get("step")
        if callable(own) and own not in _OURS and issubclass(one, lr_scheduler.LRScheduler):
            _of_subclasses.append(replace(one, "step", _step(own)))


def _init(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        session.guarded(schedule_hooks.before_scheduler)
        try:
            original(self, *args, **kwargs)
        except BaseException as error:
            session.guarded(schedule_hooks.after_scheduler, None)
            leave_out_of(error)
            raise
        session.guarded(schedule_hooks.after_scheduler, self)
        session.unlocked_call(SCHEDULES, _watch, type(self))

    return __init__


def _step(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return original(self, *args, **kwargs)
        outermost = not _running.inside
        metrics = args[0] if args else kwargs.get("metrics")
        session.guarded(schedule_hooks.on_scheduler_step, self, not outermost, metrics)
        _running.inside = True
        try:
            return original(self, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        finally:
            if outermost:
                _running.inside = False

    _OURS.add(step)
    return step
