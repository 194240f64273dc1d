"""Does one task for many runs, on all cores; a run that fails, or takes its process down, stops no other."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from gradaudit.commands.errors import Done, attempt
from gradaudit.commands.team import Team, last

T = TypeVar("T")
BAR = 20  # characters


def each(
    paths: Sequence[Path], task: Callable[[Path], Any], show: Callable[[str], None]
) -> Generator[Done[Any], None, None]:
    """What became of `task(path)` for each path, in order, each as soon as those before it are there.

    `task` must be picklable; one that gives an iterator stands for its last value. `show` is told how many are done
    while there is nothing else to show. Close the iterator to end the processes before its end.
    """
    size = min(len(paths), cores())
    if size < 2:
        yield from (attempt(lambda path=path: last(task(path), lambda part: None)) for path in paths)  # type: ignore[misc]
        return
    yield from _all(Team(task, paths, size), show)


def apart(task: Callable[[Path], T], path: Path) -> T:
    """`task(path)`; where memory is limited, in a process of its own, whose death is one line and exit code 2.

    There the chart engine, when it cannot have what it asks for, ends its process. Elsewhere, and in a process that is
    a worker already, it is done here.
    """
    if not limited() or multiprocessing.current_process().daemon:
        return task(path)
    team: Team[T] = Team(task, [path], 1, again=False)
    (done,) = _all(team, lambda what: None)
    if done.value is None:
        click.echo(done.complaint, nl=False, err=True)
        sys.exit(done.code)
    return done.value


def limited() -> bool:
    """Whether this process may not have all the address space that it asks for."""
    try:
        import resource
    except ImportError:  # not on Windows
        return False
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in kinds)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def bar(done: int, total: int) -> str:
    """ "[#####...............] 3 of 12 runs"."""
    filled = BAR * done // total
    return f"[{'#' * filled}{'.' * (BAR - filled)}] {done} of {total} runs"


def _all(team: Team[T], show: Callable[[str], None]) -> Generator[Done[T], None, None]:
    try:
        for number in range(len(team.paths)):
            team.fill()
            while number not in team.done:
                show(bar(team.finished, len(team.paths)))
                team.collect(0.3)
                team.fill()
            show("")
            yield team.done.pop(number)
    finally:
        team.end()
