"""The one door to the files of a run: plain files below the run's folder, no links, none too large.

A run may come from anybody. A name is looked at before it is opened, since opening a device can do harm, and what was
opened is looked at again, since the name may have changed hands meanwhile.
"""

import errno
import io
import os
import stat
from pathlib import Path

Identity = tuple[int, int, int, int]

# Not in every system; without them the look at the name is all there is.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0)
_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_RELATIVE = os.open in os.supports_dir_fd


class Refused(Exception):
    """A part of a run that is not read; the message goes on after its name."""


def opened(run: Path, *place: str, most: int) -> io.FileIO:
    """The file at `place` below the folder `run`, open for reading.

    Raises Refused for a link, for what is no file, and above `most` bytes; OSError as the system does.
    """
    descriptor = _descriptor(run, place)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Refused("is no file and was left out")
        if found.st_size > most:
            raise Refused(f"was left out: it has {found.st_size / 1e6:,.0f} MB, and no recorder writes that much")
        return io.FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def content(run: Path, *place: str, most: int) -> bytes:
    """All bytes of such a file. Raises as `opened` does."""
    with opened(run, *place, most=most) as file:
        # Not read(): of a file that grows while it is read, no more than `most` may come.
        data = bytearray()
        while len(data) < most and (piece := file.read(min(most - len(data), 1 << 24))):
            data += piece
        return bytes(data)


def identity(file: io.FileIO) -> Identity:
    """What tells a file, as it is now, from another one and from itself after a change."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def names(run: Path, *place: str, most: int) -> list[str]:
    """The names in a folder below `run`, sorted, at most `most` of them. Raises as `opened` does."""
    found: list[str] = []
    folder = _folder(run, place) if _RELATIVE else None
    try:
        with os.scandir(run.joinpath(*place) if folder is None else folder) as entries:
            for entry in entries:
                found.append(entry.name)
                if len(found) == most:
                    break
    finally:
        if folder is not None:
            os.close(folder)
    return sorted(found)


def _descriptor(run: Path, place: tuple[str, ...]) -> int:
    flags = os.O_RDONLY | _NO_LINK | _NO_WAIT | _PLAIN
    if not _RELATIVE:
        for depth in range(1, len(place) + 1):
            _look(run.joinpath(*place[:depth]), None, folder=depth < len(place))
        return os.open(run.joinpath(*place), flags)
    folder = _folder(run, place[:-1])
    try:
        _look(place[-1], folder, folder=False)
        return _opened(place[-1], flags, folder)
    finally:
        os.close(folder)


def _folder(run: Path, place: tuple[str, ...]) -> int:
    # The run's own name may be a link: the user gave it.
    folder = os.open(run, os.O_RDONLY | _FOLDER | _PLAIN)
    try:
        for name in place:
            _look(name, folder, folder=True)
            inner = _opened(name, os.O_RDONLY | _FOLDER | _NO_LINK | _PLAIN, folder)
            os.close(folder)
            folder = inner
    except BaseException:
        os.close(folder)
        raise
    return folder


def _look(name: str | Path, inside: int | None, folder: bool) -> None:
    """Raise Refused unless `name` is a folder, or a file, of its own."""
    mode = os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        raise Refused("is a link and was not followed")
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        raise Refused("is no folder and was left out" if folder else "is no file and was left out")


def _opened(name: str, flags: int, folder: int) -> int:
    try:
        return os.open(name, flags, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise Refused("is a link and was not followed") from None
        if error.errno in (errno.ENXIO, errno.ENODEV):
            raise Refused("is no file and was left out") from None
        raise
