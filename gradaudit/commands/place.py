"""Where an output really goes: a link is followed where it is the user's own, and never within a run."""

import errno
import os
import re
import secrets
import stat
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from gradaudit.schema import UserError

MOST_LINKS = 40  # as in Linux
RECORDING = re.compile(r"(run|launch)\.json|rank\d+(\.\d+)?")


class PlaceError(UserError):
    """No place to write to."""


@dataclass(frozen=True)
class Place:
    """A file to write, every folder on its way real, and the runs that it lies in; a `device` is written as it is."""

    file: Path
    runs: tuple[Path, ...] = ()
    device: bool = False

    @property
    def recorded(self) -> bool:
        """Whether it is part of a recording."""
        return any(RECORDING.fullmatch(self.file.relative_to(run).parts[0]) for run in self.runs)

    def write(self, data: bytes) -> None:
        """Put a new file under the name, or leave what was there; raises OSError."""
        if self.device:
            with self.file.open("ab") as device:
                device.write(data)
            return
        # The name is no one's to guess, and a link in its place is no file to write.
        temporary = self.file.with_name(f".gradaudit-{os.getpid()}-{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            with open(os.open(temporary, flags, 0o666), "wb") as file:
                file.write(data)
            temporary.replace(self.file)
        finally:
            temporary.unlink(missing_ok=True)


def settled(path: Path, runs: Collection[Path] = (), *, follow: bool = True) -> Place:
    """The place that `path` names.

    A run is one of `runs`, or any folder with a run.json. In it, a link at the end is the name to write over, and one
    on the way there raises PlaceError. Elsewhere links are followed; with `follow` false, not the one at the end.
    Raises OSError.
    """
    roots = {os.path.realpath(run) for run in runs}
    at = Path(path.anchor) if path.is_absolute() else Path.cwd()
    left = deque(path.parts[1:] if path.is_absolute() else path.parts)
    links = 0
    while left:
        part = left.popleft()
        here = at / part
        if part == "..":
            at = at.parent
        elif not here.is_symlink():
            at = here
        elif runs_around(at, roots):
            if left:
                raise PlaceError(f"{here} is a link, and links in a run are not followed")
            return Place(here, runs_around(at, roots))
        elif not left and not follow:
            return Place(here)
        elif at.is_relative_to("/proc"):
            # /dev/stdout and /dev/fd/63: what such a link says is no path.
            return Place(here.joinpath(*left), device=True)
        else:
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = Path(os.readlink(here))
            if target.is_absolute():
                at = Path(target.anchor)
            left.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
    around = runs_around(at.parent, roots)
    return Place(at, around, not around and follow and _is_device(at))


def runs_around(folder: Path, roots: Collection[str] = ()) -> tuple[Path, ...]:
    """The runs that the real `folder` is or lies in."""
    return tuple(
        above for above in (folder, *folder.parents) if str(above) in roots or os.path.lexists(above / "run.json")
    )


def _is_device(file: Path) -> bool:
    """Whether it is neither a file nor a folder, such as /dev/null or a FIFO, and must not be replaced."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
