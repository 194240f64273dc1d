"""What ends a command from outside: Ctrl-C, SIGTERM and SIGHUP unwind it once, so that nothing is left behind."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 128 + 2  # as a shell reports SIGINT
TERMINATED = 128 + 15
ENDED = (INTERRUPTED, TERMINATED, 128 + 1)  # exit codes of a command that was told to end
PATIENCE = 3.0  # s after a signal in which another one changes nothing: the command is ending already

_USUAL = (signal.SIG_DFL, signal.default_int_handler)  # whoever ignores a signal (nohup) has told us so


@contextmanager
def unwinding() -> Iterator[None]:
    """In the block, these signals raise KeyboardInterrupt or SystemExit, and an impatient second one nothing."""
    told: list[float] = []

    def unwind(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if told and now - told[-1] < PATIENCE:
            return
        told.append(now)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) in _USUAL:
                before[number] = signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            # A last Ctrl-C while the interpreter shuts down would print a traceback.
            leaving = told and number == signal.SIGINT
            signal.signal(number, signal.SIG_IGN if leaving else handler)
