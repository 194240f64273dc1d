"""The trainings by hand of a process, each thread's apart."""

from collections.abc import Sequence
from typing import Any

import torch

from gradaudit.record.by_hand.hand import Hand
from gradaudit.record.by_hand.watch import Watch
from gradaudit.record.threads import PerThread

BY_HAND = "trainings by hand"


class Hands:
    """What the seams tell, for the thread that calls."""

    def __init__(self, recording: Any) -> None:
        self.recording = recording
        self._watches = PerThread(lambda: Watch(recording))
        call, gathered = recording.observers.call, recording.gathered
        gathered.settle = lambda: call(BY_HAND, self.settle)
        gathered.by_hand = lambda: call(BY_HAND, self.mine, default=[])

    def before(self, roots: Sequence[Any], given: Sequence[torch.Tensor] | None = None, names: Any = None) -> bool:
        """A backward is about to run; whether it reaches parameters that are changed by hand."""
        # Who gave the optimizers to a Recorder wants their steps and no others. Of a process group the parameters may
        # be shards whose memory is taken away between two uses, and reading those fails.
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if self.recording.only is not None or distributed:
            return False
        return self._watches.mine().before(roots, given, names)

    def after(self, given: Sequence[torch.Tensor] | None = None, gradients: Sequence[Any] | None = None) -> None:
        """The backward has run, and `before` said yes."""
        self._watches.mine().after(given, gradients)

    def settle(self) -> None:
        """Something that is no training follows, as an evaluation: close what was made."""
        self._watches.mine().settle()

    def mine(self) -> list[Hand]:
        """What this thread changes by hand, or may be about to."""
        return self._watches.mine().hands

    def on_step(self, optimizer: Any) -> None:
        """An optimizer steps by itself."""
        self._watches.mine().on_step(optimizer)

    def on_clip(self, parameters: Sequence[torch.Tensor]) -> None:
        """Gradients were clipped."""
        self._watches.mine().on_clip(parameters)

    def end(self) -> None:
        """Close what is still open, of all threads."""
        for watch in self._watches.all():
            watch.settle(ending=True)
