"""Where on the stack an optimizer's step is, told by the frame of its wrapper."""

import sys
from types import CodeType
from typing import Any

# Where the wrapper was found last: how far up is what it called, and the code of both.
_depth = 1
_below: CodeType | None = None
_wrapper: CodeType | None = None


def wrapper_frame() -> Any:
    """The frame of the optimizer's own step wrapper that called the hook.

    torch wraps each step in a function `wrapper` of torch/optim/optimizer.py. record/frameworks/optimizer.py bears the
    name of that file, and its function the name `wrapper`, so that a framework's own optimizer is found likewise.
    """
    global _depth, _below, _wrapper
    # As far up as the last time, called by the same function, as at nearly every step: looking takes ten times as long.
    try:
        last: Any = sys._getframe(_depth)
    except ValueError:
        last = None  # the stack is not that deep
    if last is not None and last.f_code is _below and last.f_back is not None and last.f_back.f_code is _wrapper:
        return last.f_back
    below: Any = None
    frame: Any = sys._getframe(1)
    depth = 1
    while frame is not None:
        if frame.f_code.co_name == "wrapper" and frame.f_code.co_filename.endswith("optimizer.py"):
            if below is not None:
                _depth, _below, _wrapper = depth - 1, below.f_code, frame.f_code
            return frame
        below, frame, depth = frame, frame.f_back, depth + 1
    return None


def frames_of_wrappers() -> list[Any]:
    """The frames of all wrappers on the stack, the innermost first."""
    found: list[Any] = []
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "wrapper" and frame.f_code.co_filename.endswith("optimizer.py"):
            found.append(frame)
        frame = frame.f_back
    return found


def is_on_stack(identity: int) -> bool:
    """Whether the frame with this identity is still running."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if id(frame) == identity:
            return True
        frame = frame.f_back
    return False


def inside_a_step(between: Any) -> bool:
    """Whether a step is nested in one of its thread: of a subclass calling its parent, or of a wrapped optimizer."""
    if between.step is None:
        return False
    if is_on_stack(between.step.frame):
        return bool(id(wrapper_frame()) != between.step.frame)
    # A step that raised never reached its post hook: its frame is gone from the stack.
    between.step = None
    return False
