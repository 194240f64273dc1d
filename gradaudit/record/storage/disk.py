"""Bytes to files without keeping a descriptor: a script may close it and be given its number for a file of its own.

Daemons close every descriptor that they do not know. So a file is opened for each write, is asked
whether it is still as it was left, and a descriptor is looked at before it is used and before it is
closed. No link is followed, and what exists is never written over, only renamed over.

The number of an inode tells a descriptor's file as long as it is open, and no longer: some network and
user-space file systems give a file another one each time.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

_TRIES = 3  # when another thread closes every descriptor in the middle of a write
# Without waiting: a pipe put in the place of a file would be waited for until somebody reads it.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY


Bytes = Any  # of bytes, or what shows its own as a memoryview does


class Left(NamedTuple):
    """A file as it was left: where it is, and its size."""

    device: int
    size: int


class _Opened(NamedTuple):
    """A file while it is open."""

    device: int
    inode: int
    size: int


def create(file: Path, content: Bytes, sync: bool = False) -> Left:
    """Write a new file; raises FileExistsError. A part of it is removed when the rest cannot be written."""
    handle = os.open(file, _ANEW, 0o666)
    found = os.fstat(handle)
    opened = _Opened(found.st_dev, found.st_ino, 0)
    try:
        try:
            _write(handle, opened, content)
            if sync and _is(handle, opened):
                os.fsync(handle)
        finally:
            _close(handle, opened)
    except BaseException:
        with contextlib.suppress(OSError):
            file.unlink()
        raise
    return Left(opened.device, len(content))


def append(file: Path, left: Left, content: Bytes) -> Left:
    """Write to the end of a file that is as it was left. Raises OSError when it is gone, changed or another one.

    What was written of `content` is cut off again when the rest cannot be: a torn end would hide what
    follows it.
    """
    for again in range(_TRIES):
        try:
            _append(file, left, content, again > 0)
        except OSError as error:
            if error.errno != errno.EBADF or again == _TRIES - 1:
                raise
        else:
            break
    return left._replace(size=left.size + len(content))


def _append(file: Path, left: Left, content: Bytes, again: bool) -> None:
    handle, opened = _open(file, os.O_WRONLY | os.O_APPEND)
    try:
        if again and opened.device == left.device and opened.size > left.size:
            os.ftruncate(handle, left.size)
            opened = opened._replace(size=left.size)
        _as_left(file, opened, left)
        _write(handle, opened, content)
    finally:
        _close(handle, opened)


def read(file: Path, left: Left) -> bytes:
    """The content of a file that is as it was left; raises OSError when it is not."""
    handle, opened = _open(file, os.O_RDONLY)
    try:
        _as_left(file, opened, left)
        pieces = []
        while _is(handle, opened) and (piece := os.read(handle, left.size)):
            pieces.append(piece)
    finally:
        _close(handle, opened)
    content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(content) != left.size:
        raise OSError(f"{file.name} could not be read to its end")
    return content


def whole(file: Path) -> bytes:
    """The content of a file that nobody writes to; raises OSError for a link, and for what is no file."""
    handle, opened = _open(file, os.O_RDONLY)
    _close(handle, opened)
    return read(file, Left(opened.device, opened.size))


def replace(file: Path, content: Bytes, sync: bool = False) -> Left:
    """Write `file` so that a reader sees the old content or the new, never a part."""
    temporary = file.with_name(f"{file.name}.tmp")
    try:
        left = create(temporary, content, sync)
    except FileExistsError:
        temporary.unlink()  # left behind, or a link, which is not followed
        left = create(temporary, content, sync)
    temporary.replace(file)
    return left


def _open(file: Path, flags: int) -> tuple[int, _Opened]:
    handle = os.open(file, flags | _SAFELY)
    found = os.fstat(handle)
    # What is no file has no size that was left.
    return handle, _Opened(found.st_dev, found.st_ino, found.st_size if stat.S_ISREG(found.st_mode) else -1)


def _as_left(file: Path, opened: _Opened, left: Left) -> None:
    if (opened.device, opened.size) != left:
        raise OSError(f"{file.name} was changed by another program")


def _write(handle: int, opened: _Opened, content: Bytes) -> None:
    rest = memoryview(content)
    try:
        while rest:
            if not _is(handle, opened):
                raise OSError(errno.EBADF, "a descriptor was closed by the script")
            rest = rest[os.write(handle, rest) :]
    except OSError:
        if len(rest) < len(content) and _is(handle, opened):
            with contextlib.suppress(OSError):
                os.ftruncate(handle, opened.size)
        raise


def _is(handle: int, opened: _Opened) -> bool:
    """Whether the descriptor is still that of our file."""
    try:
        found = os.fstat(handle)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == opened[:2]


def _close(handle: int, opened: _Opened) -> None:
    if _is(handle, opened):
        with contextlib.suppress(OSError):
            os.close(handle)
