"""Which observer is behind a hook: a fault behind the hook ends that observer, and nothing else."""

from collections.abc import Callable
from typing import Any, TypeVar

Bind = Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]
Hook = TypeVar("Hook", bound=Callable[..., Any])

OBSERVERS: dict[Callable[..., Any], str] = {}  # the observer behind each hook that has one


def observer(name: str) -> Callable[[Hook], Hook]:
    """Mark a hook: a fault behind it ends this observer, and nothing else."""

    def mark(hook: Hook) -> Hook:
        OBSERVERS[hook] = name
        return hook

    return mark
