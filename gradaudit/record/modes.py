"""Steps out of the script's function and dispatch modes, which count or change what is called: ours is not theirs."""

import contextlib
from typing import Any

import torch

_NOTHING: Any = contextlib.nullcontext()
_depth: Any = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 0)
_functions: Any = getattr(torch._C, "DisableTorchFunction", contextlib.nullcontext)


def unseen() -> Any:
    """While open, the operations of this thread reach no TorchFunctionMode, no TorchDispatchMode and no subclass."""
    return _functions() if not _depth() else _below_all_modes()


@contextlib.contextmanager
def _below_all_modes() -> Any:
    from torch.utils import _python_dispatch

    with contextlib.ExitStack() as stack:
        while _depth():
            stack.enter_context(_python_dispatch._pop_mode_temporarily())
        stack.enter_context(_functions())
        yield
