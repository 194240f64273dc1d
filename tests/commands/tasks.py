"""Tasks for workers that are told to end, or killed. Nothing heavy is imported here: each worker imports it."""

import os
import signal
import time

from gradaudit.endings import alive


def slow(path):
    """Half a file, and then a long time; `path.pid` says who is at it."""
    half = path.with_suffix(".tmp")
    half.write_text("half")
    try:
        path.with_suffix(".pid").write_text(str(os.getpid()))
        time.sleep(60)
    finally:
        half.unlink()


def deaf(path):
    """The same, of a process that does not listen: it is in the middle of something native."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    path.with_suffix(".pid").write_text(str(os.getpid()))
    time.sleep(60)


def one_is_killed(path):
    """The first path takes long the first time; the third and the fourth want to be done at once."""
    begun, ended = path.with_suffix(".begun"), path.with_suffix(".ended")
    if path.name == "0" and not begun.exists():
        begun.touch()
        path.with_suffix(".pid").write_text(str(os.getpid()))
        time.sleep(60)
    if path.name == "1":
        first = path.with_name("0.pid")
        while not (first.exists() and first.read_text()) or alive(int(first.read_text())):
            time.sleep(0.02)
    busy = {file.stem for file in path.parent.glob("*.begun")} - {file.stem for file in path.parent.glob("*.ended")}
    begun.touch()
    partner = {"2": "3", "3": "2"}.get(path.name)
    deadline = time.monotonic() + 30
    while partner and not path.with_name(f"{partner}.begun").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    met = partner and path.with_name(f"{partner}.begun").exists()
    ended.touch()
    return "together" if met else "alone" if busy <= {"0"} and path.name == "0" else "done"


def unlinked(path):
    """`slow`, of a process that the death of its parent sends no signal."""
    import ctypes

    ctypes.CDLL(None).prctl(1, 0)
    slow(path)
