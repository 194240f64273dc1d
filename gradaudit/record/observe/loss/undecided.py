"""Losses with a gradient, of which the next backward tells what they are: many evaluate without `no_grad`."""

from collections.abc import Sequence
from typing import Any

from gradaudit.record.observe.loss.calls import LossCall
from gradaudit.record.observe.loss.seen import leading_to

_MOST = 10_000  # losses of one evaluation; of a longer one nothing is told


class Undecided:
    """The losses of one thread that were computed in evaluation mode since its last backward.

    After a backward in evaluation mode there are none: then the mode tells nothing of a loss.
    """

    def __init__(self) -> None:
        self.calls: list[LossCall] = []
        self.expects = False  # the last backward was not made in evaluation mode
        self._too_many = False

    def add(self, call: LossCall) -> bool:
        """Keep a loss until it is known what it was; False when there are too many to know."""
        if len(self.calls) >= _MOST:
            self._too_many = True
            self.calls.clear()
        if not self._too_many:
            self.calls.append(call)
        return not self._too_many

    def training(self, pending: Sequence[LossCall], roots: Sequence[Any], mode: int) -> list[LossCall]:
        """The losses that may be behind a backward from `roots`, made in this mode: none of an evaluation's.

        All of them are, as soon as one is, or where the model is in evaluation mode still.
        """
        self.expects = mode != 0  # unknown before the first step
        if not self.calls:
            return []
        if mode == 1 and not self.caused(roots, pending):
            return []
        return self.leave()

    def caused(self, roots: Sequence[Any], pending: Sequence[LossCall] = ()) -> bool:
        """Whether a backward from `roots` differentiates one of them."""
        differentiated = {id(call) for call in leading_to([*self.calls, *pending], roots)}
        return not differentiated.isdisjoint(map(id, self.calls))

    def leave(self) -> list[LossCall]:
        """What is left is an evaluation's."""
        calls, self.calls, self._too_many = self.calls, [], False
        return calls
