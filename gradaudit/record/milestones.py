"""What a process has seen before its first step is written, in a small file: it tells why a run is empty."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from gradaudit.endings import MOST_STARTS, STARTS
from gradaudit.record import os_signals
from gradaudit.record.observers import reason_of
from gradaudit.record.settings import Settings

_MOST_WRITES = 18  # before the exit
_PATIENCE = 1.0  # seconds that the script waits for one of them, once: it may be inside the recording's lock


class Milestones:
    """Counts the losses and backward passes of a process without a step, and writes them at the first few of each."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = Path(settings.directory) / STARTS
        self.file = self.folder / f"{os.getpid()}.json"
        self.facts: dict[str, Any] = {
            "pid": os.getpid(), "backwards": 0, "losses": 0, "evaluations": 0, "state": "running",
        }  # fmt: skip
        self.writes = 0
        self._slow = False  # the disk hangs: it is left alone

    def begin(self) -> None:
        """The recorder has started."""
        self._write()

    def count(self, kind: Literal["backwards", "losses", "evaluations"]) -> None:
        """A backward ran, or a loss was computed: of the training, or of an evaluation."""
        self.facts[kind] += 1
        count = self.facts[kind]
        if count == 1 or (kind == "evaluations" and count & (count - 1) == 0) or (count == 1000):
            self._write()

    def disabled(self, reason: str) -> None:
        """The recorder has given up."""
        self.facts["disabled"] = reason
        self._write()

    def close(self, state: str, writer: Any) -> None:
        """The process ends; `writer` is None where it has made no step."""
        if writer is None:
            self.end(state, getattr(sys, "last_value", None))
        elif writer.begun:
            self.written()
        else:
            self.facts["state"] = state
            self.disabled("nothing of it could be written" if writer.error is None else reason_of(writer.error))

    def end(self, state: str, error: BaseException | None) -> None:
        """The process ends, and has made no step."""
        self.facts["state"] = state
        if error is not None:
            self.facts["error"] = _words(error, self.settings.host)
        if self.writes or any(self.facts[name] for name in ("backwards", "losses", "evaluations")):
            self.writes = 0
            self._write()

    def stepped(self) -> None:
        """A step was made, and is not written yet."""
        if "stepped" not in self.facts:
            self.facts["stepped"] = True
            self._write()

    def written(self) -> None:
        """The run can be read: nothing is to be explained any more."""
        self._aside(self._remove)

    def _remove(self) -> None:
        self.file.unlink(missing_ok=True)
        self.folder.rmdir()

    def _write(self) -> None:
        if self.writes < _MOST_WRITES:
            content = json.dumps(self.facts)
            self._aside(lambda: self._put(content))

    def _aside(self, write: Callable[[], None]) -> None:
        if not self._slow:
            self._slow = not os_signals.aside(write, _PATIENCE)

    def _put(self, content: str) -> None:
        if not self.writes and not self._room():
            self.writes = _MOST_WRITES
            return
        self.writes += 1
        # A new file, renamed: a link that has its name is replaced, not followed.
        temporary = self.file.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        with temporary.open("x") as file:
            file.write(content)
        temporary.replace(self.file)

    def _room(self) -> bool:
        """Make the folder; whether it is one, and has room for a file more."""
        # Without that file nobody launched a recording; with this one there is a step already, of another process.
        if not (self.folder.parent / "launch.json").is_file() or (self.folder.parent / "run.json").exists():
            return False
        self.folder.mkdir(exist_ok=True)
        return not self.folder.is_symlink() and len(os.listdir(self.folder)) < MOST_STARTS


def _words(error: BaseException, whole: bool) -> str:
    """The type of an exception and, where what it says may be kept, its first line."""
    name = type(error).__name__
    with contextlib.suppress(Exception):
        lines = str(error).splitlines() if whole else []
        return f"{name}: {lines[0][:200]}" if lines and lines[0] else name
    return name
