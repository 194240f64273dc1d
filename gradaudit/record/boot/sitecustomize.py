"""Runs at the start of the recorded interpreter: starts the recorder when torch has been executed.

Standard library only, and no syntax younger than Python 3.7. It hands over to the sitecustomize that it shadows,
takes its own folder off ``sys.path``, and never lets a fault of ours reach the script.
"""

from __future__ import annotations

import atexit
import importlib.machinery
import importlib.util
import os
import sys

TYPE_CHECKING = False  # importing typing would cost every interpreter that starts
if TYPE_CHECKING:
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_OURS = sys.modules[__name__]
_waiting = [True]  # until a recorder was started, or could not be


def _load(name: str) -> Any:
    """A module beside this folder."""
    # By its path: where this interpreter has no gradaudit, the script's user is told when torch is imported.
    file = os.path.join(os.path.dirname(_HERE), name + ".py")
    spec: Any = importlib.util.spec_from_file_location("gradaudit.record." + name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _watch() -> Any:
    """The finder that waits for torch, put in front of all others."""
    imports = _load("imports")

    class AfterTorch(imports.Finder):  # type: ignore[misc, name-defined]
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
            if sys.modules.get("sitecustomize") is _OURS:
                # The script would find no sitecustomize of its own, and finds none of ours.
                del sys.modules["sitecustomize"]
            return super().find_spec(name, path, target)

    finder: Any = AfterTorch({"torch": lambda module: _start(finder)})
    sys.meta_path.insert(0, finder)
    return finder


def _start(finder: Any) -> None:
    try:
        _waiting.pop()
    except IndexError:  # another thread was first, or torch is executed again
        return
    finder.watched = {}
    try:
        for needed in ("msgspec", "numpy"):
            if importlib.util.find_spec(needed) is None:
                raise ModuleNotFoundError(f"No module named {needed!r}")
        from gradaudit.record.launch import begin

        begin()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        word = reason if _settings().get("host", True) else type(error).__name__
        hint = f"install gradaudit for {sys.executable}" if isinstance(error, ImportError) else "please report this"
        _say(f"not recording: {reason} ({hint}); the script runs without it")
        _leave_word(word)


def _settings() -> dict[str, Any]:
    import json

    try:
        found: dict[str, Any] = json.loads(os.environ["GRADAUDIT_RECORD"])
    except (KeyError, ValueError):
        return {}
    return found


def _leave_word(reason: str) -> None:
    """Let who looks for the run know why it is empty, as gradaudit.record.milestones does where it can."""
    import json

    def write() -> None:
        folder = os.path.join(_settings()["directory"], "starts")
        if not os.path.isdir(folder):
            os.mkdir(folder)
        with open(os.path.join(folder, f"{os.getpid()}.json"), "x") as file:
            json.dump({"pid": os.getpid(), "disabled": reason[:300], "told": True}, file)

    try:  # noqa: SIM105  (as below)
        _load("os_signals").aside(write, 1.0)
    except Exception:  # the script is worth more
        pass


def _at_exit() -> None:
    """Never be silent where torch was there and the recorder was not."""
    if _waiting and "torch.nn" in sys.modules:
        reason = "torch was imported in a way that the recorder does not see"
        _say(f"nothing recorded: {reason}; please report this")
        _leave_word(reason)


def _say(line: str) -> None:
    try:  # noqa: SIM105  (contextlib would be one more import in every interpreter)
        sys.stderr.write(f"gradaudit: {line}\n")
    except Exception:  # closed, or none
        pass


def _run_shadowed() -> None:
    """Execute the sitecustomize that ours shadows, under its own name."""
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
sys.path_importer_cache.pop(_HERE, None)
if os.environ.get("GRADAUDIT_RECORD"):
    try:
        _watch().look()
        atexit.register(_at_exit)
    except Exception as error:
        _say(f"not recording: {error}; the script runs without it")
_run_shadowed()
