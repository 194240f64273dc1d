"""The line that a recording ends with: how much was recorded, and what to do next."""

import contextlib
import shlex
from pathlib import Path

from gradaudit.record.recording import Recording


def last_line(recording: Recording, directory: Path | None) -> str | None:
    """What is said of a recording that lies in `directory`; None where nothing is, or another rank says it."""
    files = recording.files
    if directory is None or files is None or recording.settings.quiet:
        return None
    if files.rank or files.attempt not in (0, files.restarts):
        return None
    command = f"gradaudit analyze {shlex.quote(str(_relative(directory)))}"
    return f"gradaudit: recorded {_extent(recording)}; next: {command}"


def _extent(recording: Recording) -> str:
    """How much was recorded, in words."""
    steps, tensors, cadences = recording.global_step, len(recording.table.facts), recording.cadences.values()
    looked = sum(cadence.recorded for cadence in cadences) - recording.waiting.dropped
    words = f"{steps:,} step{'s' * (steps != 1)} of {tensors:,} tensor{'s' * (tensors != 1)}"
    if looked < steps:
        words += f", {looked:,} of them with tensor statistics"
    if any(cadence.left_out for cadence in cadences):
        words += f" ({'every=1' if recording.settings.explicit else '--every 1'} keeps them all)"
    return words


def _relative(path: Path) -> Path:
    with contextlib.suppress(ValueError, OSError):
        return path.relative_to(Path.cwd())
    return path
