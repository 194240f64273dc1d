"""Patch: CUDAGraph, during whose capture no other thread of the process may call the driver."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record import session
from gradaudit.record.patches import Patch, leave_out_of, replace


def install() -> list[Patch]:
    """Wrap the beginning and the end of a capture."""
    graph = torch.cuda.CUDAGraph
    return [
        replace(graph, "capture_begin", _begin(graph.capture_begin)),
        replace(graph, "capture_end", _end(graph.capture_end)),
    ]


def _begin(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def capture_begin(*args: Any, **kwargs: Any) -> Any:
        session.pause()
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            session.resume()
            leave_out_of(error)
            raise

    return capture_begin


def _end(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def capture_end(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        finally:
            session.resume()

    return capture_end
