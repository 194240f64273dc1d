"""Keeps torch.compile from tracing functions of ours."""

import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from gradaudit.record.internals import private


def hide_from_compiler(function: Callable[..., Any], *, callees: bool) -> None:
    """Run `function`, and with `callees` what it calls, as it is where compiled code calls back into Python.

    Without it the compiler tries to trace our frames and counts a graph break more. Older versions
    of torch have no such switch; there it stays at the break.
    """
    frames = sys.modules.get("torch._C._dynamo.eval_frame")
    switch, action = private(frames, "set_code_exec_strategy"), private(frames, "_FrameAction")
    strategy = private(frames, "_FrameExecStrategy")
    if isinstance(function, FunctionType) and switch and action and strategy:
        switch(function.__code__, strategy(action.SKIP, action.SKIP if callees else action.DEFAULT))
