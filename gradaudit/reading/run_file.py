"""The file ``run.json``, read back: whether a folder is a run, its facts, and whether it still goes on."""

import socket
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from gradaudit import endings, guard
from gradaudit.guard import Refused
from gradaudit.reading.limits import MOST_NAMES, MOST_TEXT, Budget, checked
from gradaudit.reading.segments import clean_text
from gradaudit.schema import FORMAT_VERSION, Meta, UserError


class RunError(UserError):
    """The run cannot be read; the message says what is wrong, where, and what to do."""


def read_meta(path: Path, budget: Budget) -> Meta:
    """The facts of the run in `path`. Raises RunError."""
    if not path.exists():
        raise RunError(f"{path}: no such run; `gradaudit record train.py` makes one under runs/")
    if not path.is_dir():
        raise RunError(f"{path} is a file; give the run's folder, the one that holds run.json")
    file = path / "run.json"
    try:
        text = guard.content(path, "run.json", most=MOST_TEXT)
        budget.spend_facts(text)
    except Refused as refused:
        raise RunError(_refused(file, str(refused))) from None
    except FileNotFoundError:
        launched = (path / "launch.json").exists()
        if any(path.glob("rank*")) and not (launched and endings.starts(path)):
            raise RunError(f"{path}: run.json is missing, and without it the rank folders cannot be read") from None
        if launched:
            raise RunError(f"{path} holds no step: {endings.why_empty(path, _ignored(path))}") from None
        inside = next((f"; it holds runs: name one, or {path}/*" for _ in path.glob("*/run.json")), "")
        raise RunError(f"{path} is not a run: it has no run.json{inside}") from None
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror}") from None
    try:
        version = msgspec.json.decode(text, type=_Version).format_version
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise RunError(
                f"{path} has format {version}, and this gradaudit reads up to {FORMAT_VERSION}: "
                "upgrade gradaudit (pip install -U gradaudit)"
            )
        meta = msgspec.json.decode(text, type=Meta)
        checked(meta)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunError(f"{file} is damaged: {clean_text(str(error))}") from None
    except RecursionError:
        raise RunError(f"{file} is damaged: it is nested too deeply") from None
    except Refused as refused:
        raise RunError(f"{file} is damaged: it {refused}") from None
    return meta


class _Version(msgspec.Struct):
    format_version: Any = 0


def _refused(file: Path, reason: str) -> str:
    if "is a link" in reason:
        return f"{file} is a link, and links in a run are not followed; copy what it points to"
    if "is no file" in reason:
        return f"{file} cannot be read: it is no file"
    return f"{file} {reason.removeprefix('was left out: it ')}"


def _ignored(path: Path) -> str:
    """The option by which the command's Python ignored the recorder."""
    found = endings.facts(path, "launch.json", most=endings.MOST_LAUNCH).get("ignored")
    return found if found in ("-I", "-E", "-S") else ""


def exit_code_of(path: Path, meta: Meta) -> int | None:
    """The exit code of the process that made the run in `path`; None while it runs, after a signal, or unknown.

    Of a process that another one started, as torchrun starts its ranks, it is known after os._exit only.
    """
    ended = endings.ending(path)
    return ended.exit_code if ended is not None and ended.pid == meta.pid else meta.exit_code


def cleaned(value: Any) -> Any:
    """A copy of a tree of facts in which every string went through `clean_text`."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        fields = {name: cleaned(getattr(value, name)) for name in value.__struct_fields__}
        return type(value)(**fields)
    return value


def state_of(path: Path, meta: Meta) -> str:
    """The state of the run in `path`: as its end was seen from outside, else as its process wrote it.

    A process that no longer exists is not running.
    """
    ended = endings.ending(path)
    if ended is not None and ended.pid == meta.pid:
        return ended.state(meta.state)
    if meta.state != "running":
        return meta.state
    if meta.private.host in ("", socket.gethostname()) and meta.pid and Path("/proc").exists():
        return "running" if endings.alive(meta.pid) else "killed"
    newest = max(_written(path), default=0.0)
    return "running" if time.time() - newest < 120 else "killed"


def _written(path: Path) -> Iterator[float]:
    """When each file of the run was last written, in seconds; a link tells its own time."""
    places = [(), *((name,) for name in guard.names(path, most=MOST_NAMES) if name.startswith("rank"))]
    for place in places:
        with suppress(OSError, Refused):
            for name in guard.names(path, *place, most=MOST_NAMES):
                with suppress(OSError):
                    found = path.joinpath(*place, name).lstat()
                    if stat.S_ISREG(found.st_mode):
                        yield found.st_mtime
