"""Signals that the recorder must not take from the script, and those that its own writing raises."""

import contextlib
import signal
from collections.abc import Iterator

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
