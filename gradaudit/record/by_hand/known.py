"""The optimizers of torch's kind that the script has made: what they hold is theirs to change."""

import contextlib
import weakref
from typing import Any

_known: "weakref.WeakSet[Any]" = weakref.WeakSet()


def add(optimizer: Any) -> None:
    """Remember an optimizer while it exists."""
    with contextlib.suppress(TypeError):  # a class without weak references, or without a hash
        _known.add(optimizer)


def known() -> list[Any]:
    """The optimizers that exist."""
    return list(_known)
