"""The trainings by hand of a process, each thread's apart."""

from collections.abc import Sequence
from typing import Any

import torch

from gradaudit.record.by_hand.graph import looks_at
from gradaudit.record.by_hand.hand import Hand
from gradaudit.record.by_hand.watch import Watch
from gradaudit.record.observe.threads import PerThread

BY_HAND = "trainings by hand"


class Hands:
    """What the patches and hooks report, for the thread that calls."""

    def __init__(self, recording: Any) -> None:
        self.recording = recording
        self._watches = PerThread(lambda: Watch(recording))
        call, gathered = recording.observers.call, recording.gathered
        gathered.settle = lambda: call(BY_HAND, self.settle)
        gathered.by_hand = lambda: call(BY_HAND, self.mine, default=[])

    @property
    def watched(self) -> bool:
        """Whether any thread may have parameters that are changed by hand."""
        return any(watch.hands for watch in self._watches.all())

    def looks_at(self, between: Any, ahead: int) -> bool:
        """Whether leaves are looked for at the backward so many ahead, of the thread of `between`."""
        return any(looks_at(watch.backwards + ahead) for watch in self._watches.all() if watch.between is between)

    def passed(self, between: Any, count: int) -> None:
        """So many backwards were made, each with a step of an optimizer."""
        for watch in self._watches.all():
            if watch.between is between:
                watch.count(count)
                watch.missed += count

    def before(self, roots: Sequence[Any], given: Sequence[torch.Tensor] | None = None, names: Any = None) -> bool:
        """A backward is about to run; whether it reaches parameters that are changed by hand."""
        # Who gave the optimizers to a Recorder wants their steps and no others. Of a process group the parameters may
        # be shards whose memory is taken away between two uses, and reading those fails.
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if self.recording.only is not None or distributed:
            return False
        mine = self._watches.mine()
        for watch in self._left():
            # Whoever starts a thread for each backward changes the parameters in another one.
            watch.settle()
            _pass_on(watch, mine)
        return mine.before(roots, given, names)

    def after(self, given: Sequence[torch.Tensor] | None = None, gradients: Sequence[Any] | None = None) -> None:
        """The backward has run, and `before` said yes."""
        self._watches.mine().after(given, gradients)

    def settle(self) -> None:
        """Something that is no training follows, as an evaluation: close what was made."""
        for watch in [*self._left(), self._watches.mine()]:
            watch.settle()

    def mine(self) -> list[Hand]:
        """What this thread changes by hand, or may be about to."""
        return self._watches.mine().hands if self.watched else []

    def on_step(self, optimizer: Any) -> None:
        """An optimizer steps by itself."""
        for watch in [*self._left(), self._watches.mine()]:
            watch.on_step(optimizer)

    def on_clip(self, parameters: Sequence[torch.Tensor]) -> None:
        """Gradients were clipped."""
        for watch in [*self._left(), self._watches.mine()]:
            watch.on_clip(parameters)

    def _left(self) -> list[Watch]:
        """What threads watched that have ended."""
        others = [watch for watch in self._watches.others() if watch.hands]
        return [watch for watch in self._watches.ended() if watch in others] if others else []

    def end(self) -> None:
        """Close what is still open, of all threads."""
        for watch in self._watches.all():
            watch.settle(ending=True)


def _pass_on(watch: Watch, heir: Watch) -> None:
    """Let another thread go on with what one watched that has ended."""
    held = {key for hand in heir.hands for key in hand.held}
    for hand in watch.hands:
        if held.isdisjoint(hand.held):
            heir.hands.append(hand)
            if hand in watch.opened:
                heir.opened[hand] = watch.opened[hand]
                heir.opened[hand].between = heir.between
    heir.backwards, heir.since = heir.backwards + watch.backwards, heir.since + watch.since
    heir.between.seen.add(watch.between.seen)
    watch.between.skip()
    watch.hands, watch.opened, watch.backwards, watch.since = [], {}, 0, 0
