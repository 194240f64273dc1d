"""Patch: clip_grad_norm_ and clip_grad_value_, which run before the optimizer's step."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import utils

from gradaudit.record import every_step, hooks, schedule_hooks, session
from gradaudit.record.observe.schedules import SCHEDULES
from gradaudit.record.patches import Patch, leave_out_of, replace

BY_NORM, BY_VALUE = 1, 2


def install() -> list[Patch]:
    """Wrap both functions in both places where they can be reached."""
    norm = _watched(utils.clip_grad_norm_, BY_NORM, "max_norm")
    value = _watched(utils.clip_grad_value_, BY_VALUE, "clip_value")
    return [
        replace(place, name, ours)
        for place in (utils, utils.clip_grad)
        for name, ours in (("clip_grad_norm_", norm), ("clip_grad_value_", value))
    ]


def _watched(original: Callable[..., Any], kind: int, threshold_name: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def clip(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if session.current() is None or torch.compiler.is_compiling():
            return original(parameters, *args, **kwargs)
        # An iterator can be read once only; one without tensors is passed on as it is, since torch may warn about it.
        seen = list(parameters) if isinstance(parameters, Iterator) else parameters
        given = seen if seen is parameters or seen else parameters
        threshold = args[0] if args else kwargs.get(threshold_name, float("nan"))
        tensors = [seen] if isinstance(seen, torch.Tensor) else seen
        if isinstance(tensors, list | tuple) and session.unlocked_call(SCHEDULES, _scaled):
            session.guarded(schedule_hooks.on_clipping, tensors)
        if kind == BY_VALUE and isinstance(tensors, list | tuple):
            # What it takes away cannot be seen afterwards.
            session.guarded(hooks.before_value_clip, tensors, threshold)
        try:
            result = original(given, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        if kind == BY_NORM and isinstance(tensors, list | tuple):
            norm_type = args[1] if len(args) > 1 else kwargs.get("norm_type", 2.0)
            every_step.after_norm_clip(kind, tensors, threshold, result, norm_type)
        elif isinstance(tensors, list | tuple):
            session.guarded(hooks.on_clip_by_hand, tensors)
        return result

    return clip


def _scaled() -> bool:
    """Whether a GradScaler is in use: else it does not matter what is clipped before it is unscaled."""
    recording = session.current()
    return recording is not None and recording.gathered.schedules.scaling.active
