"""The one recording of this process: starting and ending it, and keeping every fault of ours away from the script."""

import atexit
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

from gradaudit.record import hooks, idle, schedule_hooks
from gradaudit.record.hook_observers import OBSERVERS
from gradaudit.record.last_line import last_line
from gradaudit.record.milestones import Milestones
from gradaudit.record.modes import unseen
from gradaudit.record.module_hooks import ModuleHooks
from gradaudit.record.observe.evaluation.splits import forget as forget_places
from gradaudit.record.observers import NotWrittenError, from_a_signal, reason_of
from gradaudit.record.recording import Recording
from gradaudit.record.settings import Settings
from gradaudit.record.stderr import remember, say
from gradaudit.record.storage.files import exit_state

PATIENCE = 30.0  # seconds that a thread waits for another one that is inside the recording, once and never again
LAST_PATIENCE = 5.0  # the same, when the process ends

P = ParamSpec("P")
R = TypeVar("R")
_OCCUPIED = "another thread did not leave the recorder"

_current: Recording | None = None
_registered = False
_before: Milestones | None = None  # until the first step is written
_exit_code: int | None = None  # of a child of multiprocessing, known before its exit handlers run
_warned = False  # a script gets one line of trouble from us, not two


def start(
    settings: Settings, models: Sequence[nn.Module] = (), optimizers: Sequence[torch.optim.Optimizer] | None = None
) -> Recording:
    """Begin to record. Nothing is written before the first optimizer step."""
    global _before, _current, _registered, _warned
    _warned = False
    remember()
    if not _registered:
        atexit.register(_at_exit)
        os.register_at_fork(before=_before_fork, after_in_parent=idle.after_fork, after_in_child=_in_child)
        _registered = True
    _current = _recording(settings, models, optimizers)
    _before = None
    if not settings.explicit:
        _before = Milestones(settings)
        _before.begin()
    return _current


def _recording(
    settings: Settings, models: Sequence[nn.Module] = (), optimizers: Sequence[torch.optim.Optimizer] | None = None
) -> Recording:
    return Recording(settings, models, optimizers, warn=warn, module_hooks=ModuleHooks(guarded))


def current() -> Recording | None:
    """The recording of this process, if one is going on."""
    return _current


def guarded(hook: Callable[Concatenate[Recording, P], R], *arguments: P.args, **keywords: P.kwargs) -> R | None:
    """Call one of `hooks` on the recording; None where none is going on, or the hook fails.

    An exception ends the observer behind the hook, and never reaches the script. A fault of the core ends the
    recording, with one line.
    """
    recording = _current
    if recording is None:
        return None
    disabled = recording.observers.disabled
    if disabled and OBSERVERS.get(hook) in disabled:
        return None
    started = time.perf_counter()
    if not recording.lock.acquire(False) and not recording.lock.acquire(timeout=PATIENCE):
        # Whoever is inside for so long waits for this thread, and what was missed now would make the rest wrong.
        _give_up(recording, hook.__name__, TimeoutError(_OCCUPIED), inside=False)
        return None
    try:
        # What is enqueued during a capture runs whenever the graph is replayed.
        if idle.captures and torch.cuda.is_current_stream_capturing():
            recording.event("captured", idle.CAPTURED, once=True)
            return None
        with unseen():
            recording.catch_up(beside=hook is schedule_hooks.on_scheduler_step)
            if _before is not None:
                _note_milestone(_before, recording, hook, arguments)
            return hook(recording, *arguments, **keywords)
    except Exception as error:
        if from_a_signal(error):
            raise
        if hook in OBSERVERS and not isinstance(error, NotWrittenError):
            recording.observers.disable(OBSERVERS[hook], error)
        else:
            _give_up(recording, hook.__name__, error)
        return None
    finally:
        if recording.close_look.wanted:
            recording.close_look.arrange(recording.between.updating())
        recording.meter.spent += time.perf_counter() - started
        recording.lock.release()


def _note_milestone(milestones: Milestones, recording: Recording, hook: object, arguments: tuple[Any, ...]) -> None:
    global _before
    if recording.files is None:
        if hook is hooks.on_backward:
            milestones.count("backwards")
        elif hook is hooks.on_loss:
            milestones.count("losses" if arguments[1].requires_grad else "evaluations")
    elif recording.files.writer.begun:
        milestones.written()
        _before = None
    else:
        milestones.stepped()


def guarded_call(observer: str, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R | None:
    """Call a function of ours outside of the recording as `guarded` calls a hook that `observer` is behind."""
    recording = _current
    if recording is None:
        return None
    if not recording.lock.acquire(timeout=PATIENCE):
        _give_up(recording, function.__name__, TimeoutError(_OCCUPIED), inside=False)
        return None
    try:
        with unseen():
            result: R | None = recording.observers.call(observer, function, *arguments, **keywords)
            return result
    except Exception as error:
        if from_a_signal(error):
            raise
        _give_up(recording, function.__name__, error)
        return None
    finally:
        recording.lock.release()


def unlocked_call(observer: str, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R | None:
    """The same without the recording's lock: for what changes nothing of the recording, or has a lock of its own."""
    recording = _current
    if recording is None:
        return None
    return recording.observers.call(observer, function, *arguments, **keywords)  # type: ignore[no-any-return]


def event(kind: str, message: str) -> None:
    """Note something about the recording, where one is going on."""
    with contextlib.suppress(Exception):
        if _current is not None:
            _current.event(kind, message)


def _give_up(recording: Recording, place: str, error: Exception, *, inside: bool = True) -> None:
    """End the recording for a fault of its core; not `inside` is who could not get the recording's lock."""
    global _current
    _current = None
    reason = reason_of(error)
    warn(f"gradaudit: recording stopped in {place} ({reason}); the training goes on")
    with contextlib.suppress(Exception):
        if _before is not None and (recording.files is None or not recording.files.writer.begun):
            _before.disabled(f"{reason} in {place}")
    with contextlib.suppress(Exception):
        recording.detach()
        if inside:
            recording.event("disabled", f"recording stopped in {place}: {reason}")
        if recording.files is not None:
            recording.files.state = "finished"
            if not inside:
                recording.files.writer.hurry(LAST_PATIENCE)
            recording.close("finished", reachable=inside)


def stop(state: str) -> None:
    """End the recording and say in one line where it is."""
    global _current
    recording, _current = _current, None
    if recording is None:
        return
    # Whoever is inside comes out first; one that does not must not keep the process from ending.
    inside = recording.lock.acquire(timeout=LAST_PATIENCE)
    try:
        recording.detach(calls=False)  # what they saw is put together by `close`
        with unseen():
            directory = recording.close(state, reachable=inside)
        if not inside:
            raise TimeoutError(_OCCUPIED)
        if recording.files is not None and recording.files.writer.error is not None:
            raise recording.files.writer.error
        line = last_line(recording, directory)
        if line is not None:
            say(line)
    except Exception as error:
        warn(f"gradaudit: the end of the recording was lost ({reason_of(error)})")
    finally:
        with contextlib.suppress(Exception):
            forget_places()
            recording.calls.detach()
        if inside:
            recording.lock.release()


def warn(line: str) -> None:
    """Tell the script's user of trouble, once."""
    global _warned
    if _before is not None:
        _before.facts["told"] = True
    if not _warned:
        _warned = True
        say(line)


def _at_exit() -> None:
    state = exit_state()
    if _exit_code:
        state = "failed"
    # Who interrupts the waiting for a slow disk gets no traceback of ours.
    with contextlib.suppress(Exception, KeyboardInterrupt):
        _end(state, _exit_code)
    if state == "interrupted":
        # The interpreter ends by SIGINT only if the last code compiled from a string or file was
        # interrupted; an import of ours (namedtuple evaluates a string) makes it forget.
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")


def leave(code: int | None) -> None:
    """The process is about to end without its exit handlers: with `code`, or as another program takes its place."""
    with contextlib.suppress(Exception, KeyboardInterrupt):
        recording = _current
        if recording is not None and recording.files is not None:
            # Who leaves in this way is in a hurry: a watchdog, say.
            recording.files.writer.hurry(LAST_PATIENCE)
        _end("failed" if code else "finished", code)


def note_exit_code(code: int) -> None:
    """A child of multiprocessing is about to end with `code`, with or without its exit handlers."""
    global _exit_code
    _exit_code = code


def _end(state: str, code: int | None) -> None:
    """End the recording together with the process."""
    global _before
    before, files = _before, _current.files if _current is not None else None
    if files is not None:
        files.exit_code = code
    stop(state)
    _before = None
    if before is not None:
        before.close(state, None if files is None else files.writer)


def _writer() -> Any:
    return _current.files.writer if _current is not None and _current.files is not None else None


def pause() -> None:
    """Keep the writer's thread away from the device: its calls would spoil the CUDA graph that is being captured."""
    with contextlib.suppress(Exception):
        idle.pause(_writer())


def resume() -> None:
    """End a pause; the last one of several that overlap lets the writer go on."""
    with contextlib.suppress(Exception):
        idle.resume()


def _before_fork() -> None:
    idle.before_fork(_writer())


def _in_child() -> None:
    """After a fork: the parent's rows and its thread are not the child's. A child that trains records itself."""
    global _before, _current, _exit_code
    _before = _exit_code = None
    if _current is None:
        return
    with contextlib.suppress(Exception):
        _current.detach()
    if _current.files is not None and not idle.was_idle():
        settings, _current = _current.settings, None
        with contextlib.suppress(Exception):
            _before = Milestones(settings)
            _before.disabled("it was forked while the disk was behind, with the recorder at work")
        return
    try:
        _current = _recording(_current.settings)
        _before = Milestones(_current.settings)
    except Exception:
        _current = None
