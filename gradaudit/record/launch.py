"""`gradaudit record`: run a command, as it is, in an interpreter that records itself."""

import contextlib
import errno
import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import msgspec

from gradaudit.record import child
from gradaudit.record.settings import MOST_ARGUMENTS, Settings, in_utf8
from gradaudit.schema import UserError

_ENVIRONMENT = "GRADAUDIT_RECORD"
_BOOT = Path(__file__).parent / "boot"


class LaunchError(UserError):
    """The command cannot be recorded; the message says why and what to do."""


def launch(  # noqa: PLR0913 -- options, each by its name
    command: list[str],
    *,
    directory: Path | None,
    every: int | None,
    budget: float,
    quiet: bool,
    force: bool,
    host: bool,
    activations: bool = False,
    closely: tuple[int, int] | None = None,
    data: bool = True,
) -> NoReturn:
    """Run `command`, recorded into `directory`; this process ends as it does.

    `command` is ``[script, *args]``, ``["-m", module, *args]`` or ``["--", program, *args]``. Raises
    LaunchError when the folder is taken, torch is missing, or the program does not exist.
    """
    program, arguments, name = resolve(command)
    directory = directory or Path("runs") / f"{name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"
    settings = Settings(
        directory=str(directory.absolute()),
        every=every,
        budget=budget,
        quiet=quiet,
        host=host,
        activations=activations,
        closely=closely,
        data=data,
        command=[program, *arguments],
        ignored=child.ignoring_option(program, arguments),
        awaited=child.is_awaited(),
    )
    plain = {key: value for key, value in os.environ.items() if key != _ENVIRONMENT}
    sys.stdout.flush()
    try:
        made = [folder for folder in (directory, *directory.parents) if not folder.exists()]
        earlier = prepare(directory, force=force)
        _claim(directory, _shown(settings))
    except OSError as error:
        # A training is worth more than its record.
        _run_without(f"{directory} cannot be written: {error.strerror}", program, arguments, plain)
    # A separator only where there is something to separate: an empty entry means the current folder.
    path = os.pathsep.join(filter(None, [str(_BOOT), os.environ.get("PYTHONPATH", "")]))
    # Without the command, which may be longer than a variable: it is in launch.json.
    handed = msgspec.structs.asdict(msgspec.structs.replace(settings, command=[]))
    environment = {**plain, "PYTHONPATH": path, _ENVIRONMENT: json.dumps(handed)}
    try:
        child.run(
            program, arguments, environment, directory=settings.directory, quiet=quiet, ignored=settings.ignored,
            started=lambda: _remove(earlier),
        )  # fmt: skip
    except OSError as error:
        _take_back(directory, made, earlier)
        if error.errno != errno.E2BIG:
            raise
        _run_without("arguments and environment leave no room for it", program, arguments, plain)


def _run_without(reason: str, program: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """Run the command in the place of this process, unrecorded."""
    sys.stderr.write(f"gradaudit: not recording: {reason}; the command runs without it\n")
    sys.stderr.flush()
    child.as_found()
    os.execve(program, [program, *arguments], environment)


def _remove(earlier: Path | None) -> None:
    if earlier:
        shutil.rmtree(earlier, ignore_errors=True)


def _take_back(directory: Path, made: list[Path], earlier: Path | None) -> None:
    """Nothing was started: leave no folder that a second try would find taken, and the earlier run as it was."""
    with contextlib.suppress(OSError):
        (directory / "launch.json").unlink()
        for folder in made:
            folder.rmdir()
        if earlier:
            for part in earlier.iterdir():
                part.rename(directory / part.name)
            earlier.rmdir()


def _shown(settings: Settings) -> bytes:
    """The content of launch.json."""
    command = [in_utf8(part) for part in settings.command[:MOST_ARGUMENTS]] if settings.host else []
    directory = in_utf8(settings.directory) if settings.host else ""
    return msgspec.json.encode(msgspec.structs.replace(settings, command=command, directory=directory))


def resolve(command: list[str]) -> tuple[str, list[str], str]:
    """(program, arguments, name of the run) of what was asked for."""
    if not command:
        raise LaunchError("nothing to record; give a script: gradaudit record train.py")
    if command[0] == "--":
        if len(command) < 2:
            raise LaunchError("nothing to record after --; give a command: gradaudit record -- torchrun train.py")
        program = shutil.which(command[1])
        if program is None and command[1].endswith(".py") and Path(command[1]).is_file():
            return resolve(command[1:])  # `-- train.py`, as other launchers take it
        if program is None:
            raise LaunchError(f"{command[1]}: no such command")
        scripts = [argument for argument in command[1:] if argument.endswith(".py")]
        return program, command[2:], Path(scripts[0] if scripts else command[1]).stem
    _need_torch()
    if command[0] == "-m":
        if len(command) < 2:
            raise LaunchError("-m needs the name of a module: gradaudit record -m package.train")
        return sys.executable, list(command), command[1].rpartition(".")[2]
    if not Path(command[0]).exists():
        raise LaunchError(f"{command[0]}: no such script")
    return sys.executable, list(command), Path(command[0]).stem


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise LaunchError(
            f"{sys.executable} has no torch, so nothing can be trained with it: install gradaudit where you train "
            '(pip install "gradaudit[record]"), or record a command of that environment: gradaudit record -- python ...'
        )


def prepare(directory: Path, *, force: bool) -> Path | None:
    """Make `directory`, empty; where it held an earlier run, the folder in it to which that run was moved.

    Raises LaunchError when it holds something and `force` is not given; `force` moves an earlier run and nothing
    else: a folder that is not a run is never emptied. Raises OSError when it cannot be made or emptied.
    """
    taken = directory.exists() and any(directory.iterdir())
    if taken and not force:
        raise LaunchError(f"{directory} is not empty; --force records over an earlier run, or give another -o")
    earlier = None
    if taken:
        if not any((directory / name).exists() for name in ("run.json", "launch.json")):
            raise LaunchError(f"{directory} is not empty and is not a run; give another -o")
        parts = list(directory.iterdir())
        earlier = directory / f".earlier-{os.getpid()}"
        earlier.mkdir()
        for part in parts:
            part.rename(earlier / part.name)
    directory.mkdir(parents=True, exist_ok=True)
    return earlier


def _claim(directory: Path, content: bytes) -> None:
    """Write launch.json; of two commands given the same folder at the same time one gets it."""
    try:
        with (directory / "launch.json").open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise LaunchError(f"{directory} was taken by another recording just now; give another -o") from None


def begin() -> None:
    """Start recording in this interpreter; called by the boot folder once torch is imported."""
    from gradaudit.record import observers, session
    from gradaudit.record.install import install

    settings = msgspec.convert(json.loads(os.environ[_ENVIRONMENT]), Settings)
    observers.keep_words(settings.host)
    install(activations=settings.samples_activations)
    session.start(settings)
