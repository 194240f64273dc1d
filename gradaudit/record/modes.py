"""Steps out of the script's function and dispatch modes, which count or change what is called: ours is not theirs."""

import contextlib
import sys
from typing import Any

import torch

from gradaudit.record.internals import private

_NOTHING: Any = contextlib.nullcontext()
_functions: Any = getattr(torch._C, "DisableTorchFunction", contextlib.nullcontext)


def unseen() -> Any:
    """While open, the operations of this thread reach no TorchFunctionMode, no TorchDispatchMode and no subclass."""
    return _below_all_modes() if _depth() else _functions()


def _depth() -> int:
    """How many dispatch modes are open."""
    depth = private(torch._C, "_len_torch_dispatch_stack")
    return int(depth()) if depth is not None else 0


@contextlib.contextmanager
def _below_all_modes() -> Any:
    pop = private(sys.modules.get("torch.utils._python_dispatch"), "_pop_mode_temporarily")
    with contextlib.ExitStack() as stack:
        while pop is not None and _depth():
            stack.enter_context(pop())
        stack.enter_context(_functions())
        yield
