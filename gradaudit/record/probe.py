"""A fixed sample of each parameter tensor, from which its norm, update and drift are estimated."""

import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch

# Relative error of an AdamW update norm at 4,096 elements: median 0.4 %, worst 2 %; of SGD's on an
# embedding up to 14 %. Smaller tensors are taken whole and their norms are exact.
MOST = 4096
BUDGET = 2_000_000  # elements over all tensors, so that a model of 20,000 tensors stays cheap
LEAST = 64


def stride_for(shape: Sequence[int], most: int) -> int:
    """The step between probed elements: at least numel / `most`, coprime with every trailing dimension.

    A stride that shares a factor with a row's length would visit the same few columns of every row.
    """
    elements = math.prod(shape)
    stride = max(1, math.ceil(elements / most))
    while stride > 1 and any(math.gcd(stride, math.prod(shape[axis:])) > 1 for axis in range(1, len(shape))):
        stride += 1
    return stride


class Probe:
    """The sample of a list of parameters. `values` is taken before and after a step, on the device."""

    def __init__(self, parameters: Sequence[torch.Tensor]) -> None:
        most = max(LEAST, min(MOST, BUDGET // max(1, len(parameters))))
        shapes = [_local(parameter).shape for parameter in parameters]
        self.strides = [stride_for(shape, most) for shape in shapes]
        elements = numpy.array([math.prod(shape) for shape in shapes], dtype=numpy.int64)
        self.counts = numpy.array([-(-n // s) for n, s in zip(elements, self.strides, strict=True)], dtype=numpy.int64)
        self.scale = numpy.sqrt(elements / numpy.maximum(self.counts, 1))
        self.device = parameters[0].device if parameters else torch.device("cpu")
        self._segment: torch.Tensor | None = None

    def values(self, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
        """[probed elements] of all parameters one after the other, a copy in float32 or float64."""
        parts = []
        for parameter, stride in zip(parameters, self.strides, strict=True):
            flat = _local(parameter).detach().reshape(-1)[::stride]
            if flat.is_complex():
                flat = flat.abs()
            if flat.dtype not in (torch.float32, torch.float64):
                flat = flat.float()
            parts.append(flat.to(self.device, non_blocking=True))
        return torch.cat(parts) if parts else torch.empty(0)

    def norms(self, values: torch.Tensor) -> Any:
        """[tensors] L2 norms estimated from `values`: numpy on the CPU, else a tensor on the device."""
        if values.device.type == "cpu":
            array = values.numpy().astype(numpy.float64)
            full = numpy.flatnonzero(self.counts)
            starts = (numpy.cumsum(self.counts) - self.counts)[full]
            squares = numpy.zeros(len(self.counts))
            with numpy.errstate(all="ignore"):
                if len(full):
                    squares[full] = numpy.add.reduceat(array * array, starts)
                return numpy.sqrt(squares) * self.scale
        if self._segment is None:
            owner = numpy.repeat(numpy.arange(len(self.counts)), self.counts)
            self._segment = torch.from_numpy(owner).to(values.device, non_blocking=True)
            self._scale = torch.from_numpy(self.scale).to(values.device, non_blocking=True)
        squares_on_device = torch.zeros(len(self.counts), dtype=torch.float64, device=values.device)
        squares_on_device.index_add_(0, self._segment, values.double().square())
        return squares_on_device.sqrt() * self._scale


def _local(parameter: torch.Tensor) -> torch.Tensor:
    """This rank's shard of a distributed tensor, or the tensor itself."""
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter
