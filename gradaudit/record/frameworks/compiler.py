"""torch.compile: the losses of each graph, read off what it returns whenever it runs."""

import functools
from collections.abc import Callable
from typing import Any

from gradaudit.record import hooks, session
from gradaudit.record.internals import private, transformed
from gradaudit.record.observe.loss.compiled import GraphLoss, losses_of
from gradaudit.record.observers import COMPILED_LOSSES
from gradaudit.record.patches import Patch, replace
from gradaudit.record.patches.losses import observed


def install(module: Any) -> list[Patch]:
    """Wrap OutputGraph.call_user_compiler of the module torch._dynamo.output_graph, which gives a graph to its backend.

    What the backend returns is called as it is; our look at its outputs comes after it, outside of compiled code.
    """
    original = private(module.OutputGraph, "call_user_compiler")
    if original is None:
        session.event("compiled", "losses inside compiled regions are not seen with this version of torch")
        return []

    @functools.wraps(original)
    def call_user_compiler(self: Any, gm: Any, *args: Any, **kwargs: Any) -> Any:
        # What is exported or packaged is saved, and must load where gradaudit is not installed.
        kept = getattr(self, "export", False) or getattr(self, "package", None) is not None
        found = None if kept else session.guarded_call(COMPILED_LOSSES, losses_of, gm, _tell)
        compiled = original(self, gm, *args, **kwargs)
        watched = session.unlocked_call(COMPILED_LOSSES, _watched, compiled, found) if found else None
        return compiled if watched is None else watched

    return [replace(module.OutputGraph, "call_user_compiler", call_user_compiler)]


def _tell(message: str) -> None:
    session.event("compiled", message)


def _watched(compiled: Callable[..., Any], found: list[GraphLoss]) -> Callable[..., Any]:
    def graph(*args: Any, **kwargs: Any) -> Any:
        before = getattr(observed, "calls", 0)
        outputs = compiled(*args, **kwargs)
        # A backend that runs the graph in Python calls the loss functions themselves, which were seen then.
        if session.current() is not None and getattr(observed, "calls", 0) == before and not transformed():
            observed.calls = before + 1
            session.guarded(hooks.on_graph, found, args, outputs)
        return outputs

    # No attribute is taken over: older compilers follow one of them back to what is inside, past this function.
    return graph
