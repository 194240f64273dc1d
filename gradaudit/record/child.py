"""Starts the command as a child of this process, which then becomes the one that waits for it."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

_WAITER = Path(__file__).with_name("waiter.py")
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def run(  # noqa: PLR0913 -- options, each by its name
    program: str,
    arguments: list[str],
    environment: dict[str, str],
    *,
    directory: str,
    quiet: bool,
    ignored: str,
    started: Callable[[], object],
) -> NoReturn:
    """Run `program`, and `started` once it runs; this process ends as it does. Raises OSError when it cannot run.

    The child stays in this process's group and session, and dies with it. Where the operating system cannot
    tell a child of its parent's end, the program takes the place of this process and nobody waits for it.
    """
    command = [program, *arguments]
    if not is_awaited():
        started()
        as_found()
        os.execve(program, command, environment)
    import ctypes

    control = ctypes.CDLL(None).prctl
    # From here on no signal is lost: the waiter finds pending what arrives before it is there.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ignoring = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else the status of a child is lost
    listener = _listener(control, parent := os.getpid())
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError:  # too many processes: nobody waits for it then
        _end(listener)
        _restore(mask, ignoring)
        started()
        os.execve(program, command, environment)
    if not child:
        try:
            control(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() == parent:
                _restore(mask, ignoring)
                os.execve(program, command, environment)
        except OSError as error:
            os.write(writing, str(error.errno).encode())
        finally:
            os._exit(127)
    if failed := _failure(reading, writing):
        os.waitpid(child, 0)
        _end(listener)
        _restore(mask, ignoring)
        raise OSError(failed, os.strerror(failed), program)
    started()
    told = [str(child), str(listener), directory, "quiet" if quiet else "", ignored]
    try:
        os.execv(sys.executable, [sys.executable, "-I", "-S", str(_WAITER), *told])
    except OSError:
        from gradaudit.record import waiter

        waiter.main(child, listener, directory, quiet, ignored)
    os._exit(1)  # not reached: the waiter ends as the child did


def is_awaited() -> bool:
    """Whether a process stays to wait for the command."""
    return sys.platform == "linux" and bool(sys.executable)


def _failure(reading: int, writing: int) -> int:
    """The errno of a child that could not become the program; 0 once it did. Closes both ends of the pipe."""
    os.close(writing)
    failed = os.read(reading, 16)
    os.close(reading)
    return int(failed or 0)


def _listener(control: Callable[..., int], parent: int) -> int:
    """A child that takes no signal: what is pending there when the waiter is ready was sent to the group."""
    try:
        child = os.fork()
    except OSError:
        return 0
    if not child:
        try:
            control(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
            while os.getppid() == parent:
                signal.pause()
        finally:
            os._exit(0)
    return child


def _end(process: int) -> None:
    if process:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def as_found() -> None:
    """Signals that Python ignores for itself at its own start are not inherited by what is executed."""
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def _restore(mask: Any, ignoring: bool) -> None:
    """Signals as this process found them."""
    if ignoring:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    as_found()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def ignoring_option(program: str, arguments: list[str]) -> str:
    """The option by which a command's Python ignores the recorder: -I, -E, -S, or one of them among others."""
    name = Path(program).name
    if not name.startswith(("python", "pypy")):
        return ""
    position = 0
    while position < len(arguments) and arguments[position].startswith("-") and arguments[position] not in ("-", "--"):
        option = arguments[position]
        if option.startswith("--"):
            position += 1
            continue
        for letter in option[1:]:
            if letter in "IES":
                return f"-{letter}"
            if letter in "cm":
                return ""  # the rest belongs to the program
            if letter in "WX":
                position += option.endswith(letter)
                break
        position += 1
    return ""
