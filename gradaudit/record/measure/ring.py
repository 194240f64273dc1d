"""The way of a step's numbers from a device to the writer: a ring on the device, copies on a stream of their own.

The training thread enqueues and never waits. When the writer is so far behind that no host buffer is
free, the statistics of those steps are dropped.
"""

import contextlib
import queue
from typing import Any

import numpy
import torch

BUFFERS = 8  # copies on their way or being written
SLOTS = 16  # of each half: with more of them the ring alone would be a percent of a large model
MOST_BYTES = 4_194_304  # of each half: a model of 20,000 tensors gets fewer slots, not more memory


class HostCopy:
    """One copy to the host; `wait` and `release` are called by the writer's thread."""

    def __init__(self, host: torch.Tensor, done: Any, free: "queue.SimpleQueue[torch.Tensor]") -> None:
        self.host, self._done, self._free = host, done, free

    def wait(self) -> None:
        """Sleep until the copy is complete: read before that, it would hold numbers of another step."""
        if self._done is not None:
            self._done.synchronize()

    def release(self) -> None:
        """Give the buffer back. The next copy into it is made by the same stream, and so after this one."""
        self._free.put(self.host)


class Slot:
    """Where one step's rows go: `rows` is [tensors, width] float64 on the device."""

    def __init__(self, ring: "Ring", rows: torch.Tensor, place: int) -> None:
        self.rows, self.place = rows, place
        self.arrival: HostCopy | None = None
        self.dropped = False
        self.probed = False  # whether the sample's columns are filled too
        self._ring = ring

    def depart(self) -> bool:
        """Have the slot sent on its way, with those beside it; False when it had to be dropped."""
        if self.arrival is None and not self.dropped:
            self._ring.turn()
        return not self.dropped

    def read(self) -> numpy.ndarray[Any, numpy.dtype[numpy.float64]]:
        """[tensors, width], a copy, after `arrival.wait`."""
        assert self.arrival is not None
        return numpy.array(self.arrival.host[self.place].numpy())


class Ring:
    """Two halves on the device, one being filled while the other is copied."""

    def __init__(self, tensors: int, width: int, device: torch.device, slots: int = SLOTS) -> None:
        slots = max(1, min(slots, MOST_BYTES // max(1, 8 * tensors * width)))
        pinned = device.type == "cuda"
        # Zeros, since a slot's unused columns are copied too.
        self._halves = [torch.zeros(slots, tensors, width, dtype=torch.float64, device=device) for _ in range(2)]
        self._half = 0
        self._open: list[Slot] = []
        self._free: queue.SimpleQueue[torch.Tensor] = queue.SimpleQueue()
        for _ in range(BUFFERS):
            self._free.put(torch.empty(slots, tensors, width, dtype=torch.float64, device="cpu", pin_memory=pinned))
        # Other devices (the tests' CPU) have one queue: what is enqueued later happens later.
        self._copies: Any = torch.cuda.Stream(device) if pinned else None  # type: ignore[no-untyped-call]
        if self._copies is not None:
            for half in self._halves:
                half.record_stream(self._copies)  # a ring that is replaced is freed when its last copy is made
        self._left: list[Any] = [None, None]  # by half: the event after which it may be written again
        self._device = device
        self._stream: Any = None  # where the slots of the open half were filled

    def slot(self) -> Slot:
        """The next slot; work that fills it goes to the current stream."""
        half = self._halves[self._half]
        if len(self._open) == len(half):
            self.turn()
            half = self._halves[self._half]
        if self._copies is not None:
            stream = torch.cuda.current_stream(self._device)
            if self._stream is not None and self._stream != stream:
                stream.wait_stream(self._stream)
            self._stream = stream
            if not self._open and self._left[self._half] is not None:
                stream.wait_event(self._left[self._half])
        slot = Slot(self, half[len(self._open)], len(self._open))
        self._open.append(slot)
        return slot

    def turn(self) -> None:
        """Send the open half on its way and open the other one; without a free buffer drop it."""
        slots, self._open = self._open, []
        if not slots:
            return
        try:
            host = self._free.get_nowait()
        except queue.Empty:
            for slot in slots:
                slot.dropped = True
            return
        source, target = self._halves[self._half][: len(slots)], host[: len(slots)]
        done: Any = None
        lane: Any = contextlib.nullcontext()
        if self._copies is not None:
            self._copies.wait_stream(self._stream)
            lane = torch.cuda.stream(self._copies)
        with lane:
            target.copy_(source, non_blocking=True)
            if self._copies is not None:
                # Blocking: the writer sleeps in the driver instead of spinning on a core.
                done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
                done.record()
        arrival = HostCopy(host, done, self._free)
        for slot in slots:
            slot.arrival = arrival
        self._left[self._half] = done
        self._half ^= 1
