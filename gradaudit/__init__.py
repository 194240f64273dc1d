"""gradaudit: the flight recorder and accident investigator for PyTorch training runs."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Recorder", "__version__", "analyze", "compare", "load"]

if TYPE_CHECKING:
    from gradaudit.audit.compare import compare
    from gradaudit.audit.runner import analyze
    from gradaudit.reading.run import load
    from gradaudit.record.recorder import Recorder

_HOME = {
    "Recorder": "gradaudit.record.recorder",
    "analyze": "gradaudit.audit.runner",
    "compare": "gradaudit.audit.compare",
    "load": "gradaudit.reading.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: none of torch, pandas and altair is loaded before."""
    if name not in _HOME:
        raise AttributeError(f"module 'gradaudit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
