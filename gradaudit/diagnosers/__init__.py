"""The catalogue: one file a diagnoser, and the folder is the registry."""

from importlib import import_module
from pkgutil import iter_modules

from gradaudit.diagnoser import Diagnoser


def all_diagnosers() -> list[Diagnoser]:
    """Every diagnoser in the folder, by name."""
    names = sorted(module.name for module in iter_modules(__path__))
    return [getattr(import_module(f"{__name__}.{name}"), name) for name in names]
