"""What is observed of a script that does not know us: one file a seam, each with `install()`."""

from collections.abc import Callable
from typing import Any, NamedTuple


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
    patch = Patch(owner, name, ours, getattr(owner, name))
    setattr(owner, name, ours)
    return patch
