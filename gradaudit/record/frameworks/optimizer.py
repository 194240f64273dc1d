"""Puts a framework's own optimizer behind the patches that torch's optimizers reach through their hooks."""

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gradaudit.record import hooks, session
from gradaudit.record.observers import FRAMEWORK_OPTIMIZERS
from gradaudit.record.patches import Patch, leave_out_of, replace

Groups = Callable[[Any], list[dict[str, Any]]]


class OptimizerAdapter:
    """What the recording asks of an optimizer, answered for one that is not torch's."""

    def __init__(self, optimizer: Any, groups: Groups) -> None:
        self.stands_for = weakref.ref(optimizer)
        self.defaults: dict[str, Any] = {}
        self.steps = 0  # calls of its step so far
        self._groups = groups
        self._gradients: dict[int, Any] = {}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameters and options, in torch's words."""
        optimizer = self.stands_for()
        return [] if optimizer is None else self._groups(optimizer)

    def gradients_of(self, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
        """The gradients that the step was given, or else those that the parameters hold."""
        return [self._gradients.get(id(parameter), parameter.grad) for parameter in parameters]


_stand_ins: "weakref.WeakKeyDictionary[Any, OptimizerAdapter]" = weakref.WeakKeyDictionary()


def watch_steps(
    owner: Any,
    name: str,
    *,
    groups: Groups,
    class_of: Callable[[Any], str],
    due: Callable[[Any, int], bool] = lambda optimizer, steps: True,
    gradients: Callable[..., dict[int, Any]] | None = None,
) -> Patch:
    """Wrap `owner.name`, the method that makes a step.

    `groups` gives the parameter groups and `class_of` the name of the optimizer; `due` says whether the
    n-th call updates the weights; `gradients` finds those that the call was given, by parameter identity.
    """
    original = getattr(owner, name)

    def begin(optimizer: Any, args: Any, kwargs: Any) -> OptimizerAdapter | None:
        stand_in = _stand_ins.get(optimizer)
        if stand_in is None:
            kind = type(class_of(optimizer), (OptimizerAdapter,), {})
            stand_in = _stand_ins[optimizer] = kind(optimizer, groups)
        stand_in.steps += 1
        if not due(optimizer, stand_in.steps):
            return None
        stand_in._gradients = gradients(optimizer, *args, **kwargs) if gradients is not None else {}
        return stand_in

    # Called `wrapper` as torch's own is: by that the recording knows a step's frame on the stack.
    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if session.current() is None or torch.compiler.is_compiling():
            return original(self, *args, **kwargs)
        stand_in = session.guarded_call(FRAMEWORK_OPTIMIZERS, begin, self, args, kwargs)
        if stand_in is not None:
            session.guarded(hooks.before_step, stand_in, None)
        try:
            result = original(self, *args, **kwargs)
            if stand_in is not None:
                session.guarded(hooks.after_step, stand_in)
            return result
        except BaseException as error:
            leave_out_of(error)
            raise
        finally:
            if stand_in is not None:
                stand_in._gradients = {}

    return replace(owner, name, wrapper)
