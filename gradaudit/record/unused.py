"""Losses with a gradient that no backward asks for: those of an evaluation that the script does without `no_grad`."""

from collections.abc import Sequence
from typing import Any

from gradaudit.record.losses import Call
from gradaudit.record.parts import Part
from gradaudit.record.seen import leading_to
from gradaudit.record.splits import current_part

_MOST = 10_000  # batches of one evaluation


class Unused:
    """The losses of one thread, computed in evaluation mode, of which only the next backward tells what they are."""

    def __init__(self) -> None:
        self.calls: list[tuple[Call, Part]] = []
        self._trains = False  # the script trains in evaluation mode

    def takes(self, call: Call, training: int) -> bool:
        """Whether the loss may be an evaluation's: of a model in evaluation mode, in which none is trained."""
        if training != 0 or self._trains:
            return False
        self.calls.append((call, current_part()))
        del self.calls[:-_MOST]
        return True

    def leave(self) -> list[tuple[Call, Part]]:
        """The losses that were no training's, as all of them are when no backward follows."""
        calls, self.calls = self.calls, []
        return calls

    def trained(self, pending: Sequence[Call], roots: Sequence[Any], training: int) -> list[Call]:
        """Those behind a backward from `roots`, which are forgotten here; `pending` are the others that may be.

        Of an objective whose losses are not found the mode tells: a model that is trained in evaluation mode still is.
        """
        found = {id(call) for call in leading_to([*(call for call, _ in self.calls), *pending], roots)}
        if not found and training == 0:
            found = {id(call) for call, _ in self.calls}
        mine = [call for call, _ in self.calls if id(call) in found]
        if mine:
            self._trains = True
            self.calls = [(call, part) for call, part in self.calls if id(call) not in found]
        return mine
