"""Closures that an optimizer's step calls: the gradients of that step do not exist before."""

from collections.abc import Callable
from typing import Any

from gradaudit.record.observe.groups import OptimizerLike
from gradaudit.record.patches import leave_out_of


def watched(closure: Callable[[], Any], optimizer: OptimizerLike) -> Callable[[], Any]:
    """`closure`, after each call of which the recording looks at `optimizer`."""
    from gradaudit.record import hooks, session

    def call() -> Any:
        try:
            result = closure()
        except BaseException as error:
            leave_out_of(error)
            raise
        session.guarded(hooks.after_closure, optimizer)
        return result

    return call
