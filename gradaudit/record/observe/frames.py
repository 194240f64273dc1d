"""Where on the stack an optimizer's step is, told by the frame of its wrapper."""

import sys
from typing import Any


def wrapper_frame() -> Any:
    """The frame of the optimizer's own step wrapper that called the hook.

    torch wraps each step in a function `wrapper` of torch/optim/optimizer.py. record/frameworks/optimizer.py bears the
    name of that file, and its function the name `wrapper`, so that a framework's own optimizer is found likewise.
    """
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "wrapper" and frame.f_code.co_filename.endswith("optimizer.py"):
            return frame
        frame = frame.f_back
    return None


def is_on_stack(identity: int) -> bool:
    """Whether the frame with this identity is still running."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if id(frame) == identity:
            return True
        frame = frame.f_back
    return False
