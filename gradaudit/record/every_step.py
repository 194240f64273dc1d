"""What wrappers call at every step: quick where the step is like the one before, else a hook through the session."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from gradaudit.record import hooks, session
from gradaudit.record.hook_observers import Bind
from gradaudit.record.observers import STEADY_STEPS, from_a_signal
from gradaudit.record.recording import Recording

P = ParamSpec("P")


def on_loss(name: str, result: Any, bind: Bind, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """A loss function returned; quickly, where it is that of the steps before."""
    recording = session.current()
    if recording is None or not _steadily(recording, recording.steady.loss, name, result, args, kwargs):
        session.guarded(hooks.on_loss, name, result, bind, args, kwargs)


def on_backward(roots: Sequence[Any], gradients: Any) -> Any:
    """`torch.autograd.backward` is called; returns what is told when it is over."""
    recording = session.current()
    if recording is None:
        return None
    if gradients is None and len(roots) == 1 and _steadily(recording, recording.steady.backward, roots[0]):
        return recording.steady.between
    return session.guarded(hooks.on_backward, roots, gradients, True)


def after_norm_clip(kind: int, tensors: Sequence[Any], threshold: Any, norm: Any, norm_type: Any) -> None:
    """clip_grad_norm_ returned `norm`."""
    recording = session.current()
    if recording is None or _steadily(recording, recording.steady.clip, tensors, threshold, norm, norm_type):
        return
    session.guarded(hooks.after_norm_clip, kind, tensors, threshold, norm, norm_type)
    session.guarded(hooks.on_clip_by_hand, tensors)


def before_step(optimizer: Any, closure: Any) -> Any:
    """The optimizer is about to step; whether its closure has to be watched."""
    recording = session.current()
    if recording is None or (closure is None and _steadily(recording, recording.steady.step, optimizer)):
        return None
    return session.guarded(hooks.before_step, optimizer, closure)


def after_step(optimizer: Any) -> None:
    """The optimizer has stepped."""
    recording = session.current()
    if recording is None or not _steadily(recording, recording.steady.stepped, optimizer):
        session.guarded(hooks.after_step, optimizer)


def _steadily(recording: Recording, look: Callable[P, bool], *arguments: P.args, **keywords: P.kwargs) -> bool:
    """Whether a look of a steady step sufficed; a fault in one is the end of them, and the hooks go on."""
    steady = recording.steady
    if steady.at < 0:
        return False
    started = time.perf_counter()
    try:
        return look(*arguments, **keywords)
    except Exception as error:
        if from_a_signal(error):
            raise
        with contextlib.suppress(Exception), recording.lock:
            recording.catch_up(beside=False)
        with contextlib.suppress(Exception), recording.lock:
            recording.observers.disable(STEADY_STEPS, error)
            steady.at = steady.AWAY
        return False
    finally:
        recording.meter.spent += time.perf_counter() - started
