"""How the tensors of one optimizer are measured on a CUDA device: the chunk table, the addresses, the launches."""

import contextlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy
import torch

from gradaudit.record.on_device import measure_on_device, send
from gradaudit.record.ring import Ring, Slot
from gradaudit.record.sharding import local
from gradaudit.record.stats import COLUMNS

WIDTH = 16  # columns of a slot: with rows of 128 bytes every slot begins at a multiple of 16
_MISSING = 0
_EMPTY = 16  # address of a gradient without elements: nothing is read there, and it is not missing


class DeviceStatistics:
    """Measures the gradients of fixed parameters that live on one device, into slots of a ring of `steps`."""

    def __init__(self, parameters: Sequence[torch.Tensor], device: torch.device, steps: int) -> None:
        self.device = device
        self.ring = Ring(len(parameters), WIDTH, device, steps)
        self.fault, self._told = "", False  # why the kernels cannot be used although Triton is there
        self._kernels = _kernels()
        self._elements = [local(parameter).numel() for parameter in parameters]
        self._dtypes = [parameter.dtype for parameter in parameters]
        self._index = device.index if device.index is not None else -1  # as Tensor.get_device says
        self._sent: list[int] = []
        self._aligned: list[bool] = []
        if self._kernels is not None:
            self._lay_out(self._kernels)

    def _lay_out(self, kernels: Any) -> None:
        """The chunk table: chunks of one type follow each other, since a type has its own launch."""
        spans = numpy.zeros((len(self._elements), 2), dtype=numpy.int32)
        chunks: list[tuple[int, int, int]] = []  # tensor, offset, length
        self._groups: list[tuple[torch.dtype, range, list[int]]] = []
        for dtype in kernels.ELEMENTS:
            first = len(chunks)
            members = [index for index, other in enumerate(self._dtypes) if other == dtype]
            for index in members:
                begin, elements = len(chunks), self._elements[index]
                for offset in range(0, elements, kernels.CHUNK):
                    chunks.append((index, offset, min(kernels.CHUNK, elements - offset)))
                spans[index] = begin, len(chunks)
            if len(chunks) > first:
                self._groups.append((dtype, range(first, len(chunks)), members))
        table = numpy.array(chunks, dtype=numpy.int64).reshape(-1, 3)
        owners, offsets, lengths = table[:, 0].astype(numpy.int32), table[:, 1], table[:, 2].astype(numpy.int32)
        self._table = tuple(send(numpy.ascontiguousarray(part), self.device) for part in (owners, offsets, lengths))
        self._spans = send(spans, self.device)
        self._partials = torch.empty(len(chunks), kernels.PARTIALS, dtype=torch.float64, device=self.device)
        self._addresses = torch.empty(len(self._elements), dtype=torch.int64, device=self.device)

    def measure(self, gradients: Sequence[torch.Tensor | None]) -> Slot:
        """Enqueue the statistics of `gradients`, in the order of the parameters, and return where they will be."""
        slot = self.ring.slot()
        on_device = torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()
        with torch.no_grad(), on_device:
            if self._kernels is not None and not self.fault:
                try:
                    self._launch(self._kernels, gradients, slot.rows)
                    return slot
                except Exception as error:  # no C compiler for Triton's launcher, or a driver too old for its code
                    self.fault = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            slot.rows[:, : len(COLUMNS)].copy_(measure_on_device(gradients, self.device))
        return slot

    def take_fault(self) -> str:
        """Why the kernels are not used, the first time that it is asked for."""
        fault, self._told = "" if self._told else self.fault, bool(self.fault)
        return fault

    def _launch(self, kernels: Any, gradients: Sequence[torch.Tensor | None], rows: torch.Tensor) -> None:
        addresses, others = self._addresses_of(gradients)
        if addresses != self._sent:
            # From a pinned buffer of its own: the step before may still be waiting to be copied from its.
            self._addresses.copy_(send(numpy.array(addresses, dtype=numpy.int64), self.device), non_blocking=True)
            self._aligned = [all(addresses[index] % 16 == 0 for index in members) for _, _, members in self._groups]
            self._sent = addresses
        for (dtype, chunks, _), aligned in zip(self._groups, self._aligned, strict=True):
            kernels.reduce(self._addresses, self._table, self._partials, chunks, dtype, aligned)
        kernels.merge(self._addresses, self._spans, self._partials, rows)
        if others:
            found = measure_on_device([gradients[index] for index in others], self.device)
            for place, index in enumerate(others):
                rows[index, : len(COLUMNS)].copy_(found[place])

    def _addresses_of(self, gradients: Sequence[torch.Tensor | None]) -> tuple[list[int], list[int]]:
        """Where each gradient begins, and which ones the kernels cannot read and take for missing."""
        addresses, others = [], []
        for index, (gradient, dtype, elements) in enumerate(zip(gradients, self._dtypes, self._elements, strict=True)):
            if gradient is None:
                addresses.append(_MISSING)
                continue
            if type(gradient) is not torch.Tensor:
                gradient = local(gradient.detach())
            # Whatever differs from what the chunk table says would be read beyond its end.
            if (
                type(gradient) is torch.Tensor
                and gradient.layout is torch.strided
                and gradient.dtype is dtype
                and gradient.numel() == elements
                and gradient.get_device() == self._index
                and dtype in self._kernels.ELEMENTS
                and (gradient.is_contiguous() or _is_dense(gradient))
                and not gradient.is_neg()
            ):
                addresses.append(gradient.data_ptr() or _EMPTY)
            else:
                addresses.append(_MISSING)
                others.append(index)
        return addresses, others


def _kernels() -> Any:
    """The kernels, or None where Triton is missing or broken."""
    if importlib.util.find_spec("triton") is None:
        return None
    try:
        from gradaudit.record import kernels
    except Exception:
        return None
    return kernels


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill their memory without gaps, in whatever order: no statistic depends on it."""
    filled = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != filled:
                return False
            filled *= size
    return True
