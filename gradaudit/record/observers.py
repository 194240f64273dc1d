"""What is observed, each on its own: a fault in one observer ends that observer, and the recording goes on."""

import contextlib
import signal
from collections.abc import Callable
from typing import Any

from gradaudit.record.settings import in_utf8
from gradaudit.schema import DisabledFacts


class Observers:
    """Which observers of a recording have been ended, and why. Called by every thread."""

    def __init__(self, step: Callable[[], int], tell: Callable[[DisabledFacts], None]) -> None:
        self.disabled: dict[str, DisabledFacts] = {}
        self._step, self._tell = step, tell

    def call(self, observer: str, function: Callable[..., Any], *arguments: Any, default: Any = None) -> Any:
        """What `function` returns; `default` when it fails, now or before: then `observer` is over."""
        if observer in self.disabled:
            return default
        try:
            return function(*arguments)
        except Exception as error:
            if from_a_signal(error):
                raise
            self.disable(observer, error)
            return default

    def disable(self, observer: str, error: BaseException) -> None:
        """End an observer."""
        if observer not in self.disabled:
            self.disabled[observer] = fault = DisabledFacts(
                observer=observer, reason=reason_of(error), step=self._step()
            )
            with contextlib.suppress(Exception):
                self._tell(fault)


def from_a_signal(error: BaseException) -> bool:
    """Whether a signal handler of the script raised this while we were at work: a time limit, which is the script's."""
    codes = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _code_of(handler: Any) -> Any:
    handler = getattr(handler, "func", handler)  # functools.partial
    handler = getattr(handler, "__func__", handler)  # a method
    if not hasattr(handler, "__code__"):
        handler = vars(type(handler)).get("__call__")  # an object that can be called
    return getattr(handler, "__code__", None)


_words = True  # whether what an exception says may be kept


def keep_words(kept: bool) -> None:
    """Whether reasons hold what an exception says: a path of this machine may be in it."""
    global _words
    _words = kept


def reason_of(error: BaseException) -> str:
    """The exception on one line."""
    name = type(error).__name__
    with contextlib.suppress(Exception):
        return in_utf8(f"{name}: {error}".splitlines()[0][:200]) if _words else name
    return name
