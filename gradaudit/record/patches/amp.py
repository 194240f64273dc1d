"""Patch: GradScaler, which scales the loss and skips the steps that overflow."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record import hooks, schedule_hooks, session
from gradaudit.record.patches import Patch, leave_out_of, replace


def install() -> list[Patch]:
    """Wrap what a GradScaler does in each iteration."""
    scaler = torch.amp.GradScaler
    return [
        replace(scaler, "scale", _scale(scaler.scale)),
        replace(scaler, "step", _step(scaler.step)),
        replace(scaler, "unscale_", _unscale(scaler.unscale_)),
        replace(scaler, "update", _update(scaler.update)),
    ]


def _scale(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def scale(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        if session.current() is not None:
            session.guarded(hooks.on_scale, self)
            session.guarded(schedule_hooks.on_scaling, self)
        return result

    return scale


def _step(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        session.guarded(schedule_hooks.before_scaler_step, self)
        hooked = session.guarded(hooks.hooked_steps)
        try:
            result = original(self, optimizer, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        if hooked is not None:
            session.guarded(hooks.on_scaler_step, self, optimizer, hooked)
        session.guarded(schedule_hooks.after_scaler_step, self, optimizer)
        return result

    return step


def _unscale(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def unscale_(self: Any, optimizer: Any) -> None:
        session.guarded(schedule_hooks.on_unscale, self, optimizer)
        try:
            original(self, optimizer)
        except BaseException as error:
            leave_out_of(error)
            raise

    return unscale_


def _update(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def update(self: Any, *args: Any, **kwargs: Any) -> None:
        session.guarded(schedule_hooks.on_update, self)
        try:
            original(self, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise

    return update
