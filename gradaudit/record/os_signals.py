"""Signals that the recorder must not take from the script, and those that its own writing raises.

Loaded by the boot folder too: standard library only, and no syntax younger than Python 3.7.
"""

from __future__ import annotations

import _thread
import contextlib
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Of the thread that made them: blocked, they would end the process without a word.
_FAULTS = {signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
_FAULTS |= {getattr(signal, name) for name in ("SIGBUS", "SIGTRAP", "SIGSYS") if hasattr(signal, name)}
# Of a write: nobody reads the pipe, the file is longer than the limit, the terminal is another job's.
_WRITING = {getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ", "SIGTTOU") if hasattr(signal, name)}


@contextlib.contextmanager
def inherited_blocked() -> Iterator[None]:
    """Threads started inside take no signal: neither one that the script waits for, nor that of a limit.

    SIGXFSZ is sent to the thread that writes; there it stays pending, and the write fails with EFBIG.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """What is written inside fails with an error where the script has signals of a write end the process."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WRITING)
    theirs = signal.sigpending()
    try:
        yield
    finally:
        for ours in (signal.sigpending() - theirs) & _WRITING:
            if hasattr(signal, "sigtimedwait"):
                signal.sigtimedwait({ours}, 0)
            else:
                signal.sigwait({ours})
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def aside(write: Callable[[], None], seconds: float) -> bool:
    """Call `write` in a thread of its own, which takes no signal; False when it has not ended after `seconds`.

    What a disk that hangs keeps waiting is that thread. It dies with the process, and its errors are dropped.
    """
    ended = _thread.allocate_lock()
    ended.acquire()

    def work() -> None:
        try:
            with contextlib.suppress(Exception):
                write()
        finally:
            ended.release()

    try:
        with inherited_blocked():
            _thread.start_new_thread(work, ())
    except RuntimeError:  # there are too many threads, or the interpreter is ending
        with writing():
            work()
    return ended.acquire(timeout=seconds)
