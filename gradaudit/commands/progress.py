"""A line that says what a long analysis is doing, on a terminal only, and leaves no trace."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 1.0  # s; who waits less needs no line


@contextmanager
def progress(prefix: str) -> Iterator[Callable[[str], None]]:
    """A function that shows what is being done on stderr, once `PATIENCE` has passed; nothing ("") erases it."""
    from gradaudit.report.text import visible

    started = time.monotonic()
    shown = False

    def show(what: str) -> None:
        nonlocal shown
        if shown or (what and sys.stderr.isatty() and time.monotonic() - started > PATIENCE):
            sys.stderr.write(f"\r\x1b[K{visible(prefix)}: {visible(what)}" if what else "\r\x1b[K")
            sys.stderr.flush()
            shown = bool(what)

    try:
        yield show
    finally:
        show("")
