"""What is observed of a script that does not know us: one file a patch, each with `install()`."""

import os
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

_UNSEEN = "importlib._bootstrap"


class Patch(NamedTuple):
    """One attribute replaced; `undo` puts the original back unless somebody replaced it after us."""

    owner: Any
    name: str
    ours: Any
    original: Any

    def undo(self) -> None:
        """Restore the original."""
        if getattr(self.owner, self.name, None) is self.ours:
            setattr(self.owner, self.name, self.original)


def replace(owner: Any, name: str, ours: Callable[..., Any]) -> Patch:
    """Set `owner.name` to `ours` and remember what was there."""
    pass_over(ours)
    patch = Patch(owner, name, ours, getattr(owner, name))
    setattr(owner, name, ours)
    return patch


def pass_over(ours: Callable[..., Any]) -> None:
    """Let a warning about the caller's line be about the script's line, not about one of `ours`.

    `warnings.warn(..., stacklevel=2)` passes over the frames of the import machinery, which it knows by their file.
    """
    if isinstance(ours, FunctionType) and _UNSEEN not in ours.__code__.co_filename:
        folder, file = os.path.split(ours.__code__.co_filename)
        ours.__code__ = ours.__code__.replace(co_filename=os.path.join(folder, _UNSEEN, file))


def leave_out_of(error: BaseException) -> None:
    """Take the frame that is about to raise `error` again out of its traceback: the script's shows none of ours."""
    trace = error.__traceback__
    error.__traceback__ = trace.tb_next if trace is not None else None


def scriptable(ours: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """Let torch.jit.script compile `original` instead of `ours`: it refuses a function with varargs."""
    ours.__dict__["__original_fn"] = original
    ours.__dict__["__script_if_tracing_wrapper"] = True
    return ours
