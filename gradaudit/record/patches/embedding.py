"""Patch: torch.nn.functional.embedding, whose ids are the inputs of a model of sequences."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record import hooks, session
from gradaudit.record.observe.batches import BATCHES
from gradaudit.record.patches import Patch, leave_out_of, replace, scriptable


def install() -> list[Patch]:
    """Wrap the function that every Embedding module calls."""
    functional = torch.nn.functional
    return [replace(functional, "embedding", _watched(functional.embedding))]


def _watched(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def embedding(input: Any, weight: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = original(input, weight, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        if not torch.compiler.is_compiling() and session.unlocked_call(BATCHES, _wanted):
            session.guarded(hooks.on_embedding, input, result)
        return result

    return scriptable(embedding, original)


def _wanted() -> bool:
    recording = session.current()
    return recording is not None and recording.gathered.batches.wants()
