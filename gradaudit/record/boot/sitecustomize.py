"""Runs at the start of the recorded interpreter: installs the recorder right after torch is imported.

Standard library only. It hands over to the sitecustomize that it shadows, takes its own folder off
``sys.path``, and never lets a fault of ours reach the script.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys

TYPE_CHECKING = False  # importing typing would cost every interpreter that starts
if TYPE_CHECKING:
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_OURS = sys.modules[__name__]


class _AfterTorch:
    """A finder that lets torch be found by the others, and calls the recorder when it has been executed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> Any:
        if sys.modules.get("sitecustomize") is _OURS:
            # The script would find no sitecustomize of its own, and finds none of ours.
            del sys.modules["sitecustomize"]
        if name != "torch":
            return None
        sys.meta_path.remove(_AfterTorch)
        spec: Any = importlib.util.find_spec("torch")
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            del spec.loader.exec_module
            execute(module)
            _start()

        spec.loader.exec_module = exec_module
        return spec


def _start() -> None:
    try:
        for needed in ("pyarrow", "msgspec", "numpy"):
            if importlib.util.find_spec(needed) is None:
                raise ModuleNotFoundError(f"No module named {needed!r}")
        from gradaudit.record.launch import begin

        begin()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        hint = f"install gradaudit for {sys.executable}" if isinstance(error, ImportError) else "please report this"
        sys.stderr.write(f"gradaudit: not recording: {reason} ({hint}); the script runs without it\n")


def _hand_over() -> None:
    """Execute the sitecustomize that ours shadows, under its own name."""
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
if os.environ.get("GRADAUDIT_RECORD"):
    sys.meta_path.insert(0, _AfterTorch)
_hand_over()
