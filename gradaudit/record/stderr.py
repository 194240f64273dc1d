"""The recorder's one line on standard error."""

import contextlib
import os
import select
import sys

from gradaudit.record import os_signals

_NUMBER = 2  # of standard error's descriptor


def _identity() -> tuple[int, int] | None:
    try:
        found = os.fstat(_NUMBER)
    except OSError:
        return None
    return found.st_dev, found.st_ino


_found = _identity()  # what standard error was when the recorder was imported, or began


def remember() -> None:
    """Take standard error as it is now for the script's own."""
    global _found
    _found = _identity()


def say(line: str) -> None:
    """Write a line where the script's messages go, if it can be written now; never raises, nor ends the process.

    A script that closed descriptor 2 and opened a file may have been given the number for it: where the
    descriptor is no longer what it was when the recording began, nothing is written.
    """
    with contextlib.suppress(Exception), os_signals.writing():
        stream = sys.stderr
        if _number(stream) != _NUMBER:
            stream.write(f"{line}\n")
            stream.flush()
        elif _identity() == _found is not None:
            stream.flush()
            # Past the stream's buffer, which keeps what a closed pipe refuses and changes the exit code for it.
            if _can_write():
                os.write(_NUMBER, f"{line}\n".encode(stream.encoding, "backslashreplace"))


def _number(stream: object) -> int | None:
    """The descriptor of a stream; None for one without, of a notebook or a test."""
    try:
        return stream.fileno()  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, OSError, ValueError):
        return None


def _can_write() -> bool:
    """Whether a write would not wait: nobody may be reading the pipe."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(_NUMBER, select.POLLOUT)
    return bool(poll.poll(1000))
