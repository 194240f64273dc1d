"""What became of a recorded command: how it ended and, where no step was recorded, why.

Standard library only: the process that waits for the command reads it without any package.
"""

import json
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

from gradaudit import guard

ENDING = "ended.json"  # written by the process that waits for the command
STARTS = "starts"  # a file for each process that imported torch, until its first step is written
MOST_STARTS = 200
MOST_LAUNCH = 20_000_000  # bytes of launch.json: a command line may be long
_MOST_BYTES = 100_000
_MOST_NAMES = 10_000  # in the folder of starts

NEVER = (
    "the recorder never started. Either the command never imported torch, or its Python ignored the recorder "
    "(python -I, -E and -S do)"
)


class Ending(NamedTuple):
    """How the command ended: with an exit code, or by a signal."""

    pid: int
    exit_code: int | None
    signal: int = 0

    def state(self, before: str) -> str:
        """The state of a run whose own process says that it was in `before`."""
        if self.signal or self.exit_code is None:
            return "interrupted" if self.signal == signal.SIGINT else "killed"
        if self.exit_code == 0:
            return "finished"
        # A shell's code for Ctrl-C, which scripts that catch it use.
        interrupted = before == "interrupted" or self.exit_code == 128 + signal.SIGINT
        return "interrupted" if interrupted else "failed"

    def words(self) -> str:
        """As a part of a sentence."""
        if self.signal:
            try:
                return f"was ended by {signal.Signals(self.signal).name}"
            except ValueError:
                return f"was ended by signal {self.signal}"
        return f"ended with exit code {self.exit_code}"


def ending(directory: Path) -> Ending | None:
    """How the command ended; None where nobody waited for it, or it still runs."""
    found = facts(directory, ENDING)
    pid, code, number = (_whole(found.get(name)) for name in ("pid", "exit_code", "signal"))
    if not pid or (code is None and not number):
        return None
    return Ending(pid, None if number else code, number or 0)


def why_empty(directory: Path, ignored: str = "") -> str:
    """Why the run in `directory` holds no step, in words that follow a colon.

    `ignored` is the option by which the command's Python ignores the recorder.
    """
    if ignored:
        return f"the recorder never started, because python {ignored} ignores it: leave {ignored} out"
    started = starts(directory)
    ended = ending(directory)
    if not started:
        return NEVER + (f"; the command {ended.words()}" if ended is not None and ended != (ended.pid, 0, 0) else "")
    most = max(started, key=_advance)
    return f"{_how_far(most)}; {_how_ended(most, ended)}"


def starts(directory: Path) -> list[dict[str, Any]]:
    """What the processes wrote that imported torch and have made no step."""
    try:
        names = guard.names(directory, STARTS, most=_MOST_NAMES)
    except (guard.Refused, OSError):
        return []
    names = [name for name in names if name.endswith(".json")][:MOST_STARTS]
    return [found for name in names if (found := facts(directory, STARTS, name))]


def alive(pid: int) -> bool:
    """Whether this machine has a process `pid` that has not ended."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return True


def _advance(start: dict[str, Any]) -> tuple[int, ...]:
    seen = (_count(start, name) for name in ("backwards", "losses", "evaluations"))
    return bool(_text(start.get("disabled"))), start.get("stepped") is True, *seen


def _how_far(start: dict[str, Any]) -> str:
    backwards, evaluations = _count(start, "backwards"), _count(start, "evaluations")
    if disabled := _text(start.get("disabled")):
        return f"the recorder was disabled: {disabled}"
    if start.get("stepped") is True:
        far = "torch was imported and an optimizer made a step, but none was written"
    elif backwards:
        passes = f"{backwards:,} backward pass{'es' * (backwards > 1)}"
        far = f"torch was imported and ran {passes}, but no step of an optimizer was seen"
    else:
        far = "torch was imported, but no backward pass was seen"
    if evaluations:
        far += (
            f" ({evaluations:,} evaluation loss{'es' * (evaluations > 1)} {'were' if evaluations > 1 else 'was'} seen)"
        )
    return far


def _how_ended(start: dict[str, Any], ended: Ending | None) -> str:
    state, error, pid = _text(start.get("state")), _text(start.get("error")), _count(start, "pid")
    if error:
        return f"the script ended with {error}"
    if ended is not None and ended.pid == pid:
        if ended.exit_code == 0:
            return "the script ended without an error"
        return f"the script {ended.words()}"
    if state in ("finished", "failed", "interrupted"):
        return {"finished": "the script ended without an error"}.get(state, f"the script {state}")
    if ended is None and pid and alive(pid):
        return "the script still runs"
    return "the script was killed"


def facts(directory: Path, *place: str, most: int = _MOST_BYTES) -> dict[str, Any]:
    """A small JSON file of ours below `directory`; empty where it is missing, no plain file, too large or damaged."""
    try:
        found = json.loads(guard.content(directory, *place, most=most))
    except (guard.Refused, OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**31 else None


def _count(start: dict[str, Any], name: str) -> int:
    return _whole(start.get(name)) or 0


def _text(value: Any) -> str:
    """A text of one line that a terminal can show."""
    shown = value[:300] if isinstance(value, str) else ""
    return "".join(letter if letter.isprintable() else "?" for letter in shown)
