"""Reading the local variables of the script's frames without keeping them alive."""

import inspect
import sys
from types import FrameType
from typing import Any


def variables_of(frame: FrameType) -> dict[str, Any]:
    """A copy of the names that the frame's code sees.

    Up to Python 3.12 reading `f_locals` leaves a dictionary of a function's variables on its frame, which would
    keep every tensor in it alive as long as the function runs. It is emptied again, if nobody else holds it.
    """
    held = frame.f_locals
    found = dict(held)
    # Of a module or a class the dictionary is the namespace itself. References: the frame's, ours, the argument.
    in_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED
    if sys.version_info < (3, 13) and in_function and sys.getrefcount(held) <= 3:
        held.clear()
    return found
