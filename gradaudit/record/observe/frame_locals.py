"""The variables of the script: those of its frames, without keeping them alive, and what they call a tensor."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import torch

_PASSING = ("p", "param", "parameter", "tensor", "t", "v", "value", "x")  # names of loops rather than of tensors
_MOST_ITEMS = 1000  # of a variable, looked at for a name


def variables_of(frame: FrameType) -> dict[str, Any]:
    """A copy of the names that the frame's code sees.

    Up to Python 3.12 reading `f_locals` leaves a dictionary of a function's variables on its frame, which would
    keep every tensor in it alive as long as the function runs. It is emptied again, if nobody else holds it.
    """
    held = frame.f_locals
    found = dict(held)
    # Of a module or a class the dictionary is the namespace itself. References: the frame's, ours, the argument.
    in_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED
    if sys.version_info < (3, 13) and in_function and sys.getrefcount(held) <= 3:
        held.clear()
    return found


def namespaces() -> Iterator[dict[str, Any]]:
    """The script's global names, then the local names of the functions that are running, ours left out."""
    yield vars(sys.modules.get("__main__", sys))
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("gradaudit", "torch"):
            yield variables_of(frame)
        frame = frame.f_back


def variable_names(tensors: Sequence[Any]) -> dict[int, str]:
    """What the script calls each of these things, by identity: a variable, an item of one, or an attribute."""
    wanted = {id(tensor) for tensor in tensors}
    found: dict[int, str] = {}
    if not wanted:
        return found
    spaces = list(namespaces())
    for names in spaces:
        for name, value in names.items():
            if id(value) in wanted and name not in _PASSING:
                found.setdefault(id(value), str(name))
    for names in spaces:
        for name, value in list(names.items()):
            for part, item in _items(value):
                if id(item) in wanted:
                    found.setdefault(id(item), part.lstrip(".") if name == "self" else f"{name}{part}")
    taken: dict[str, int] = {}
    return {key: name for key, name in found.items() if taken.setdefault(name, key) == key}


def _items(value: Any) -> list[tuple[str, Any]]:
    """The items of a list or dictionary, and the attributes of an object, with how they are written after its name."""
    if isinstance(value, list | tuple):
        return [(f"[{index}]", item) for index, item in enumerate(value[:_MOST_ITEMS])]
    if isinstance(value, dict):
        return [(f".{key}", item) for key, item in list(value.items())[:_MOST_ITEMS]]
    attributes = getattr(type(value), "__module__", "") not in ("builtins", "torch") and not isinstance(value, type)
    if attributes and not isinstance(value, torch.Tensor):
        # Of a class that computes its attributes, asking for them would run the script's code.
        try:
            held = object.__getattribute__(value, "__dict__")
        except AttributeError:
            return []
        return [(f".{key}", item) for key, item in list(held.items())[:_MOST_ITEMS]]
    return []
