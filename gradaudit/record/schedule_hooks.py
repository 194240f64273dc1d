"""The hooks of learning rate schedulers and of GradScaler, called through `session.guarded` like all of `hooks`."""

from collections.abc import Sequence
from typing import Any

import torch

from gradaudit.record.hook_observers import observer
from gradaudit.record.observe.schedules import SCHEDULES
from gradaudit.record.recording import Recording


@observer(SCHEDULES)
def before_scheduler(recording: Recording) -> None:
    """A learning rate scheduler is being made."""
    recording.gathered.schedules.schedulers.making()


@observer(SCHEDULES)
def after_scheduler(recording: Recording, scheduler: Any) -> None:
    """It is made; None where that failed."""
    recording.gathered.schedules.schedulers.made(scheduler)


@observer(SCHEDULES)
def on_scheduler_step(recording: Recording, scheduler: Any, nested: bool, given: Any) -> None:
    """The `step` of a scheduler is called, `nested` in that of another one, and `given` an epoch or a metric."""
    recording.gathered.schedules.on_scheduler_step(scheduler, nested, given)


@observer(SCHEDULES)
def on_clipping(recording: Recording, parameters: Sequence[torch.Tensor]) -> None:
    """Gradients are about to be clipped."""
    recording.gathered.schedules.on_clip(parameters)


@observer(SCHEDULES)
def on_scaling(recording: Recording, scaler: Any) -> None:
    """A GradScaler scaled a loss."""
    recording.gathered.schedules.scaling.on_scale(scaler)


@observer(SCHEDULES)
def on_unscale(recording: Recording, scaler: Any, optimizer: Any) -> None:
    """`GradScaler.unscale_` is called, by the script or by `GradScaler.step`."""
    recording.gathered.schedules.scaling.on_unscale(scaler, optimizer, recording.global_step)


@observer(SCHEDULES)
def before_scaler_step(recording: Recording, scaler: Any) -> None:
    """`GradScaler.step` is called."""
    recording.gathered.schedules.scaling.before_step(scaler)


@observer(SCHEDULES)
def after_scaler_step(recording: Recording, scaler: Any, optimizer: Any) -> None:
    """It returned."""
    recording.gathered.schedules.scaling.after_step(scaler, optimizer)


@observer(SCHEDULES)
def on_update(recording: Recording, scaler: Any) -> None:
    """`GradScaler.update` is called."""
    recording.gathered.schedules.scaling.on_update(scaler)
