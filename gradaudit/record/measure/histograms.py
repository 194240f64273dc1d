"""Signed log2 histograms of gradients and weights, four bins to the octave, of a sample of each tensor.

The training thread copies the sample. Off the CPU the device turns it into bin numbers before that,
two bytes an element; the writer's thread counts them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from gradaudit.record.cadence import in_last_tenth
from gradaudit.record.measure.on_device import summed_rows
from gradaudit.record.measure.sampler import stride_for
from gradaudit.record.measure.sharding import local

MOST = 8192  # elements of one tensor; smaller tensors are counted whole
LEAST = 64
MOST_TENSORS = 4096  # of more, evenly spaced ones
_AT_ONCE = 65_536  # elements
BUDGET = 1_000_000  # elements of all tensors, of gradients and of weights each

_GRID = 64  # steps; the sparsest grid of tensor statistics, so that this one nests in it
_IN_A_DOUBLING = 4  # 2**4 points of the grid
_SHARES = tuple(2.0 ** (-quarter / 4) for quarter in (3, 2, 1))  # of an octave, as frexp's mantissas

# A bin's code is 2 * bin + (value < 0). float64 reaches from 2**-1074 to 2**1024, so bins from -4296 to 4095.
_ZERO, _NONFINITE = 32_766, 32_767


def due(step: int, every: int | None) -> bool:
    """Whether histograms are taken at a recorded step of an optimizer.

    At every 64th and so often before that the last tenth of any run has some; from step 2048 on at every 2**k-th,
    16 times in each doubling of the steps: a week of training is some three hundred. With `every` the recorded steps
    are counted.
    """
    number, rest = divmod(step, every or 1)
    grid = max(_GRID, 1 << max(0, number.bit_length() - 1 - _IN_A_DOUBLING))
    return not rest and (number % grid == 0 or in_last_tenth(number))


@dataclass(eq=False)
class Sampled:
    """Samples of several tensors one after the other: values on the CPU, codes of bins elsewhere."""

    kind: str  # as in table `histograms`
    identifiers: list[int]
    counts: list[int]  # elements of each
    zeros: list[int]  # elements that a sparse gradient does not store
    values: torch.Tensor

    def rows(self, scale: float) -> list[dict[str, Any]]:
        """Rows of table `histograms` but for their keys, of the values divided by `scale`; reads the device."""
        # A part at a time: of all at once, the numbers on the way would take 15 MiB.
        parts = torch.split(self.values, _AT_ONCE) if self.values.is_floating_point() else ()
        values = torch.cat([codes(part) for part in parts]) if parts else self.values
        shift = round(4 * math.log2(scale))
        ends = numpy.cumsum(self.counts)
        of_tensors = numpy.split(values.cpu().numpy(), ends[:-1])
        rows = []
        for identifier, part, absent in zip(self.identifiers, of_tensors, self.zeros, strict=True):
            counted = _count(part.astype(numpy.int64), shift)
            counted["zeros"] += absent
            counted["elements"] = len(part) + absent
            rows.append({"tensor": identifier, "kind": self.kind, **counted})
        return rows


def sample(kind: str, identifiers: Iterable[int], tensors: Sequence[torch.Tensor | None]) -> Sampled | None:
    """A copy of up to `MOST` elements of each tensor; None when there is none. Nothing waits for a device."""
    spaced = slice(None, None, -(-len(tensors) // MOST_TENSORS) or 1)
    tensors, identifiers = tensors[spaced], list(identifiers)[spaced]
    most = max(LEAST, min(MOST, BUDGET // max(1, len(tensors))))
    found: list[tuple[int, torch.Tensor, int]] = []
    for identifier, tensor in zip(identifiers, tensors, strict=True):
        values, absent = (None, 0) if tensor is None else _stored(local(tensor.detach()))
        if values is not None and values.numel() + absent:
            stride = stride_for(values.shape, most)
            found.append((int(identifier), values.reshape(-1)[::stride], absent // stride))
    if not found:
        return None
    device = found[0][1].device
    # Joining them is the copy that the optimizer's step cannot change.
    joined = torch.cat([part if part.device == device else part.to(device, non_blocking=True) for _, part, _ in found])
    joined = joined if joined.dtype == torch.float64 else joined.float()
    return Sampled(
        kind=kind,
        identifiers=[identifier for identifier, _, _ in found],
        counts=[part.numel() for _, part, _ in found],
        zeros=[absent for _, _, absent in found],
        values=joined if device.type == "cpu" else codes(joined),
    )


def of_step(
    identifiers: Iterable[int], gradients: Sequence[torch.Tensor | None], parameters: Sequence[torch.Tensor]
) -> list[Sampled]:
    """The samples of one step's gradients and of the weights before it."""
    taken = (sample("gradient", identifiers, gradients), sample("parameter", identifiers, parameters))
    return [each for each in taken if each is not None]


def codes(values: torch.Tensor) -> torch.Tensor:
    """[elements] int16: for each value its bin and its sign, or that it is zero, or not finite."""
    mantissa, exponent = torch.frexp(values)
    mantissa = mantissa.abs()
    bins = 4 * (exponent - 1)
    for share in _SHARES:
        bins += mantissa >= share
    code = 2 * bins + (values < 0)
    code = torch.where(values == 0, _ZERO, code)
    return torch.where(values.abs() < math.inf, code, _NONFINITE).to(torch.int16)


def _count(part: numpy.ndarray[Any, numpy.dtype[numpy.int64]], shift: int) -> dict[str, Any]:
    """Counts of one tensor's codes, whose bins move down by `shift`."""
    zeros, nonfinite = int((part == _ZERO).sum()), int((part == _NONFINITE).sum())
    part = part[part < _ZERO]
    low = int(part.min(initial=_ZERO)) >> 1 if len(part) else 0
    # Codes alternate between the positive and the negative elements of a bin.
    counts = numpy.bincount(part - 2 * low) if len(part) else numpy.zeros(0, dtype=numpy.int64)
    counts = numpy.pad(counts, (0, len(counts) % 2)).reshape(-1, 2)
    return {
        "zeros": zeros,
        "nonfinite": nonfinite,
        "lowest": low - shift if len(part) else 0,
        "positive": counts[:, 0].tolist(),
        "negative": counts[:, 1].tolist(),
    }


def _stored(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The stored values, real, and how many zeros are not stored."""
    absent = 0
    if tensor.layout != torch.strided:
        # `coalesce` would wait for a device.
        on_device = tensor.device.type != "cpu" and tensor.layout == torch.sparse_coo
        values = summed_rows(tensor) if on_device else tensor.coalesce().values()
        absent, tensor = tensor.numel() - values.numel(), values
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor), absent
