"""What waits to be handed to the writer: by the training at its steps, by the writer's own thread when none follows."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from gradaudit.record.cadence import Meter
from gradaudit.record.measure.ring import Slot
from gradaudit.record.measure.transfer import departures, streams
from gradaudit.record.observe.between import StepObserver
from gradaudit.record.observe.gathered import Gathered
from gradaudit.record.observe.threads import PerThread
from gradaudit.record.observers import EVALUATION_LOSSES
from gradaudit.record.storage.step_record import StepRecord
from gradaudit.record.storage.steps import WriteBatch, drop
from gradaudit.record.storage.writer import Writer

HAND_OVER_STEPS = 32  # with statistics
HAND_OVER_MOST = 512  # with or without: a row of losses is small, and handing it over costs more than it does
HAND_OVER_SECONDS = 1.0
MOST_WAITING = 10_000  # steps whose losses are kept while the disk is behind
LOCK_SECONDS = 0.2  # waited for a hook at work, by the writer's thread


class Waiting:
    """Steps, evaluation passes and events that are not handed over yet."""

    def __init__(
        self,
        gathered: Gathered,
        threads: PerThread[StepObserver],
        meter: Meter,
        event: Callable[[str, str], None],
        drain: Callable[[], Any] = lambda: None,
    ) -> None:
        self.lock = threading.RLock()  # of the whole recording: everything that the writer's thread takes over
        # Of the events alone: the writer's thread notes its faults while `lock` is held by who waits for it to end.
        self._noting = threading.Lock()
        self.gathered, self.meter = gathered, meter
        self._threads = threads
        self._drain = drain  # brings the steady steps that were made
        self._event = event  # makes one, which comes back to `note`
        self.steps: list[StepRecord] = []
        self.events: list[dict[str, Any]] = []
        self.dropped = 0  # steps whose statistics the disk was too slow for
        self._refused = 0  # of the steps: offered to the writer, which was behind
        self._measured = 0  # of the others, with statistics
        self._given = time.perf_counter()  # when something was handed over last
        self._streams: list[Any] = []  # of CUDA, that the last step was made on

    def add(self, record: StepRecord) -> bool:
        """Add a step; True when it is time to hand over."""
        with self.lock:
            self.steps.append(record)
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                self._streams = streams()
            self._measured += record.tensors is not None
            fresh = len(self.steps) - self._refused
            late = time.perf_counter() - self._given > HAND_OVER_SECONDS
            return self._measured >= HAND_OVER_STEPS or fresh >= HAND_OVER_MOST or late

    def note(self, event: dict[str, Any]) -> None:
        """Add an event."""
        with self._noting:
            self.events = [*self.events[-255:], event]

    def flush(self, writer: Writer, wait: bool) -> None:
        """Give all to the writer; when it is behind, statistics are dropped and counted, never waited for."""
        with self.lock:
            fresh = self._depart(writer)
            batch = self._batch(departures((fresh, self.gathered.evaluated)))
            if writer.put(batch, wait):
                self._forget(batch)
                return
            self._drop([step for step in fresh if step.tensors is not None])
            del self.steps[:-MOST_WAITING], self.gathered.evaluated[:-MOST_WAITING]
            self._refused = len(self.steps)

    def overdue(self, writer: Writer) -> WriteBatch | None:
        """What no step handed over in time; for the writer's thread.

        Nothing is launched on a stream of the training: what is on its way is waited for by events.
        """
        # A hook at work hands over by itself, or is over at the next look.
        if not self.lock.acquire(timeout=LOCK_SECONDS):
            return None
        try:
            self._drain()
            resting = self.gathered.observers.call(EVALUATION_LOSSES, self._resting, default=[])
            # What was given meanwhile comes first.
            if time.perf_counter() - self._given < HAND_OVER_SECONDS or not writer.idle():
                return None
            for between in resting:
                self.gathered.observers.call(EVALUATION_LOSSES, between.note_pass)
            if not (self.steps or self.gathered.evaluated or self.events):
                return None
            fresh = self._depart(writer)
            batch = self._batch(departures((fresh, self.gathered.evaluated), self._streams))
            self._forget(batch)
            return batch
        finally:
            self.lock.release()

    def _resting(self) -> list[StepObserver]:
        return [between for between in self._threads.all() if between.evaluations.is_unchanged()]

    def _depart(self, writer: Writer) -> list[StepRecord]:
        """Send what is still on a device on its way; returns the steps not offered to the writer before."""
        self._given, self._measured = time.perf_counter(), 0
        self.meter.note_writer(writer.spent, len(self.steps))
        # Those refused before hold no statistics any more: only the new ones are looked at, whatever waits.
        fresh = self.steps[self._refused :]
        self._drop([step for step in fresh if step.tensors is not None and not _departed(step.tensors.gradients)])
        return fresh

    def _drop(self, steps: Sequence[StepRecord]) -> None:
        if steps:
            self.dropped += drop(steps)
            self._event("dropped", f"the disk is behind: tensor statistics of {len(steps)} steps were dropped")

    def _batch(self, ready: list[Any]) -> WriteBatch:
        gathered = self.gathered
        return WriteBatch(
            self.steps, gathered.evaluated, self.events, gathered.observers, ready, away=gathered.table.away()
        )

    def _forget(self, batch: WriteBatch) -> None:
        self.steps, self.gathered.evaluated, self._refused = [], [], 0
        given = set(map(id, batch.events))
        with self._noting:
            self.events = [event for event in self.events if id(event) not in given]


def _departed(gradients: Any) -> bool:
    """Whether the statistics are here, or on their way from the device."""
    return gradients.depart() if isinstance(gradients, Slot) else True
