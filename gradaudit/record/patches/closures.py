"""Closures that an optimizer's step calls: the gradients of that step do not exist before."""

from collections.abc import Callable
from typing import Any

import torch

from gradaudit.record.patches import leave_out_of


def watched(closure: Callable[[], Any], optimizer: torch.optim.Optimizer) -> Callable[[], Any]:
    """`closure`, after each call of which the recording looks at `optimizer`."""
    from gradaudit.record import session

    def call() -> Any:
        try:
            result = closure()
        except BaseException as error:
            leave_out_of(error)
            raise
        session.guarded("after_closure", optimizer)
        return result

    return call
