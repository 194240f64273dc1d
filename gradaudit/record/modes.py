"""Steps out of the script's function and dispatch modes, which count or change what is called: ours is not theirs."""

import contextlib
import sys
from typing import Any

import torch

from gradaudit.record.internals import private

modes_open: Any = private(torch._C, "_len_torch_dispatch_stack") or int  # how many dispatch modes are open
_no_functions: Any = getattr(torch._C, "DisableTorchFunction", contextlib.nullcontext)


def unseen() -> Any:
    """While open, the operations of this thread reach no TorchFunctionMode, no TorchDispatchMode and no subclass."""
    return _below_all_modes() if modes_open() else _no_functions()


@contextlib.contextmanager
def _below_all_modes() -> Any:
    pop = private(sys.modules.get("torch.utils._python_dispatch"), "_pop_mode_temporarily")
    with contextlib.ExitStack() as stack:
        while pop is not None and modes_open():
            stack.enter_context(pop())
        stack.enter_context(_no_functions())
        yield
