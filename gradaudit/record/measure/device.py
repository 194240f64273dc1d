"""How the tensors of one optimizer are measured on a CUDA device: the chunk table, the addresses, the launches."""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import numpy
import torch

from gradaudit.record.measure.on_device import measure_on_device, send
from gradaudit.record.measure.ring import SLOTS, Ring, Slot
from gradaudit.record.measure.sampler import COLUMNS as SAMPLED_COLUMNS
from gradaudit.record.measure.sampler import ParameterSampler
from gradaudit.record.measure.sharding import local
from gradaudit.record.measure.stats import COLUMNS

WIDTH = 16  # columns of a slot, those of the sample after those of the gradients; rows of 128 bytes stay aligned
_SAMPLED = len(COLUMNS)
_MISSING = 0
_EMPTY = 16  # address of a tensor without elements: nothing is read there, and it is not missing


class DeviceStatistics:
    """Measures fixed parameters that live on one device, and their gradients, into slots of a ring."""

    def __init__(self, parameters: Sequence[torch.Tensor], sampler: ParameterSampler, slots: int = SLOTS) -> None:
        self.device = sampler.device
        self.ring = Ring(len(parameters), WIDTH, self.device, slots)
        self.fault, self._told = "", False  # why the kernels cannot be used although Triton is there
        self._kernels = _kernels("kernels", self.device)
        self._elements = [local(parameter).numel() for parameter in parameters]
        self._dtypes = [parameter.dtype for parameter in parameters]
        self._index = -1 if self.device.index is None else self.device.index  # as Tensor.get_device says
        self._sent: list[int] = []
        self._aligned: list[bool] = []
        self._sampler: _DeviceSampler | None = None
        if self._kernels is not None:
            self._lay_out(self._kernels)
            if not self.addresses_of(parameters)[1]:
                self._sampler = _DeviceSampler(sampler, [(dtype, members) for dtype, _, members in self._groups])

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
            if members:
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
        with torch.no_grad(), self._on_device():
            if self._kernels is not None and not self.fault:
                try:
                    self._launch(self._kernels, gradients, slot.rows)
                    return slot
                except Exception as error:  # no C compiler for Triton's launcher, or a driver too old for its code
                    self.fault = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            slot.rows[:, :_SAMPLED].copy_(measure_on_device(gradients, self.device))
        return slot

    def sample_before_step(self, slot: Slot, parameters: Sequence[torch.Tensor]) -> bool:
        """Sample the gradients just measured and the weights before the step; False: `sampler` has to."""
        if self._sampler is None or self.fault:
            return False
        addresses, others = self.addresses_of(parameters)
        if others:
            self._sampler = None
            return False
        with self._on_device():
            self._sampler.before(self._addresses, addresses, slot.rows)
        slot.probed = True
        return True

    def sample_after_step(self, slot: Slot, parameters: Sequence[torch.Tensor]) -> None:
        """Sample the weights after the step."""
        addresses, others = self.addresses_of(parameters)
        if self._sampler is not None and not others:
            with self._on_device():
                self._sampler.after(addresses, slot.rows)

    def take_fault(self) -> str:
        """Why the kernels are not used, the first time that it is asked for."""
        fault, self._told = "" if self._told else self.fault, bool(self.fault)
        return fault

    def _on_device(self) -> Any:
        return torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()

    def _launch(self, kernels: Any, gradients: Sequence[torch.Tensor | None], rows: torch.Tensor) -> None:
        addresses, others = self.addresses_of(gradients)
        if addresses != self._sent:
            send_addresses(addresses, self._addresses)
            self._aligned = [all(addresses[index] % 16 == 0 for index in members) for _, _, members in self._groups]
            self._sent = addresses
        for (dtype, chunks, _), aligned in zip(self._groups, self._aligned, strict=True):
            if chunks:
                kernels.reduce(self._addresses, self._table, self._partials, chunks, dtype, aligned)
        kernels.merge(self._addresses, self._spans, self._partials, rows)
        if others:
            found = measure_on_device([gradients[index] for index in others], self.device)
            for place, index in enumerate(others):
                rows[index, :_SAMPLED].copy_(found[place])

    def addresses_of(self, tensors: Sequence[torch.Tensor | None]) -> tuple[list[int], list[int]]:
        """Where each tensor begins, and which ones the kernels cannot read and take for missing."""
        addresses, others = [], []
        known = self._kernels.ELEMENTS
        for index, (tensor, dtype, elements) in enumerate(zip(tensors, self._dtypes, self._elements, strict=True)):
            if tensor is None:
                addresses.append(_MISSING)
                continue
            if type(tensor) not in _PLAIN:
                tensor = local(tensor.detach())
            # Whatever differs from what the chunk table says would be read beyond its end.
            if (
                type(tensor) in _PLAIN
                and tensor.layout is torch.strided
                and tensor.dtype is dtype
                and tensor.numel() == elements
                and tensor.get_device() == self._index
                and dtype in known
                and (tensor.is_contiguous() or _is_dense(tensor))
                and not tensor.is_neg()
            ):
                addresses.append(tensor.data_ptr() or _EMPTY)
            else:
                addresses.append(_MISSING)
                others.append(index)
        return addresses, others


_PLAIN = (torch.Tensor, torch.nn.Parameter)


class _DeviceSampler:
    """The sample, kept on the device by the kernels."""

    def __init__(self, sampler: ParameterSampler, groups: Sequence[tuple[torch.dtype, Sequence[int]]]) -> None:
        device = sampler.device
        self._kernels = _kernels("sampler_kernels", device)
        self._groups = [(dtype, send(numpy.array(members, dtype=numpy.int32), device)) for dtype, members in groups]
        layout = numpy.stack([sampler.counts, numpy.array(sampler.strides, dtype=numpy.int64)], axis=1)
        starts = numpy.cumsum(sampler.counts) - sampler.counts
        self._layout = send(layout, device), send(starts, device)
        self._scales = send(sampler.scale, device)
        wide = torch.float64 if any(dtype == torch.float64 for dtype, _ in groups) else torch.float32
        self._gradient, self._before = torch.zeros(2, int(sampler.counts.sum()), dtype=wide, device=device)
        self._origin: torch.Tensor | None = None
        self._sent: list[int] = []
        self._addresses = torch.empty(len(sampler.counts), dtype=torch.int64, device=device)

    def before(self, gradients: torch.Tensor, addresses: list[int], rows: torch.Tensor) -> None:
        """Keep the sample of gradients and weights, and compare the gradients with those kept before."""
        self._send(addresses)
        kept, column = (self._gradient, self._before), _SAMPLED + SAMPLED_COLUMNS.index("gradient_cosine")
        for dtype, members in self._groups:
            self._kernels.sample_before_step(
                gradients, self._addresses, members, self._layout, kept, rows, column, dtype
            )
        if self._origin is None:
            self._origin = self._before.clone()

    def after(self, addresses: list[int], rows: torch.Tensor) -> None:
        """Compare the weights with those before the step and at the first one."""
        assert self._origin is not None
        self._send(addresses)
        kept = self._before, self._origin
        for dtype, members in self._groups:
            self._kernels.sample_after_step(
                self._addresses, members, self._layout, kept, self._scales, rows, _SAMPLED, dtype
            )

    def _send(self, addresses: list[int]) -> None:
        if addresses != self._sent:
            send_addresses(addresses, self._addresses)
            self._sent = addresses


def send_addresses(addresses: list[int], table: torch.Tensor) -> None:
    """Send `addresses` to `table`, from a buffer of their own: one sent before may still be waiting to be copied."""
    table.copy_(send(numpy.array(addresses, dtype=numpy.int64), table.device), non_blocking=True)


def probed_columns(rows: numpy.ndarray[Any, Any]) -> dict[str, Any]:
    """The columns of `sampler.COLUMNS` of a slot's rows."""
    return {name: rows[:, _SAMPLED + index] for index, name in enumerate(SAMPLED_COLUMNS)}


def _kernels(name: str, device: torch.device) -> Any:
    """A module of kernels, or None where Triton is missing or broken."""
    # Interpreted kernels would copy everything to the host.
    interpreted = device.type != "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if interpreted or importlib.util.find_spec("triton") is None:
        return None
    try:
        return importlib.import_module(f"gradaudit.record.measure.{name}")
    except Exception:
        return None


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill their memory without gaps, in whatever order: no statistic depends on it."""
    filled = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if stride != filled:
                return False
            filled *= size
    return True
