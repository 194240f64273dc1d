"""Gradients of a device to numbers by torch's own operations: a fixed number of launches for 4 million elements.

The path of devices without Triton, and of gradients that the kernels do not read: sparse, complex or
overlapping ones. Nothing here waits for the device.
"""

from collections.abc import Sequence
from typing import Any

import numpy
import torch

from gradaudit.record.internals import private
from gradaudit.record.measure.sharding import local
from gradaudit.record.measure.stats import COLUMNS

_ROW = 1024  # elements reduced together; tensors are padded with NaN, which is left out, to whole rows
_STAGE = 4_194_304  # elements gathered at a time, so that the copies stay small


def measure_on_device(gradients: Sequence[torch.Tensor | None], device: torch.device) -> torch.Tensor:
    """[tensors, stats.COLUMNS] float64 on `device`; what the columns hold is what `stats.measure` says."""
    # By tensor: zeros that are not stored, elements in all, elements of padding, and whether there is a gradient.
    absent, stored, padding, present = facts = numpy.zeros((4, len(gradients)))
    pieces: dict[torch.dtype, list[tuple[int, torch.Tensor]]] = {}
    for index, gradient in enumerate(gradients):
        if gradient is None:
            continue
        present[index] = 1
        flat, unstored = _flatten(gradient)
        flat = flat.to(device, non_blocking=True)
        absent[index], stored[index], padding[index] = unstored, flat.numel() + unstored, -flat.numel() % _ROW
        for piece in torch.split(flat, _STAGE):
            if piece.numel():
                pieces.setdefault(flat.dtype, []).append((index, piece))
    owners = [numpy.zeros(0, dtype=numpy.int64)]
    partials = []
    for same in pieces.values():
        for stage in _stages(same):
            rows = [-(-piece.numel() // _ROW) for _, piece in stage]
            owners.append(numpy.repeat([index for index, _ in stage], rows))
            partials.append(_reduce([piece for _, piece in stage]))
    return _merge(partials, send(numpy.concatenate(owners), device), send(facts, device))


def send(array: numpy.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    """`array` on `device`, from pinned memory where the copy would else wait; a buffer lives until it is copied."""
    host = torch.from_numpy(array)
    return (host.pin_memory() if device.type == "cuda" else host).to(device, non_blocking=True)


def _flatten(gradient: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The stored elements as one dimension, and how many zeros are not stored (negative: that many too many)."""
    gradient = local(gradient.detach())
    if gradient.layout == torch.sparse_coo:
        values = summed_rows(gradient)
        absent = gradient.numel() - values.numel()
    elif gradient.layout != torch.strided:
        values, absent = gradient.values(), gradient.numel() - gradient.values().numel()
    else:
        values, absent = gradient, 0
    if values.is_complex():
        values, absent = torch.view_as_real(values), 2 * absent
    return values.reshape(-1), absent


def entries(gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The values and indices of a sparse gradient, as they are: an index may be there twice."""
    values, indices = private(gradient, "_values"), private(gradient, "_indices")
    if values is None or indices is None:
        one_each = gradient.detach().coalesce()
        return one_each.values(), one_each.indices()
    return values(), indices()


def summed_rows(gradient: torch.Tensor) -> torch.Tensor:
    """The values of a sparse gradient with entries of one index added up, and zeros in their place.

    `coalesce` does this too, and waits for the device to know how many are left.
    """
    values, indices = entries(gradient)
    if gradient.is_coalesced() or values.shape[0] < 2:
        return values
    sizes = gradient.shape[: gradient.sparse_dim()]
    key = torch.zeros_like(indices[0])
    for axis, size in enumerate(sizes):
        key = key * size + indices[axis]
    key, order = torch.sort(key)
    fresh = torch.cat([torch.zeros_like(key[:1]), (key[1:] != key[:-1]).to(torch.int64)])
    return torch.zeros_like(values).index_add_(0, torch.cumsum(fresh, 0), values[order])


def _stages(pieces: list[tuple[int, torch.Tensor]]) -> list[list[tuple[int, torch.Tensor]]]:
    stages: list[list[tuple[int, torch.Tensor]]] = []
    room = 0
    for index, piece in pieces:
        if piece.numel() > room:
            stages.append([])
            room = _STAGE
        stages[-1].append((index, piece))
        room -= -(-piece.numel() // _ROW) * _ROW
    return stages


def _reduce(pieces: list[torch.Tensor]) -> torch.Tensor:
    """[rows, 8] float64 of tensors of one type, padded to rows of _ROW elements.

    The columns: finite elements, mean, root of the summed squares around it, root of the summed
    squares, largest, zeros, NaN, Inf.
    """
    padding = pieces[0].new_full((_ROW,), float("nan"))
    padded = [part for piece in pieces for part in (piece, padding[: -piece.numel() % _ROW])]
    values = torch.cat(padded).view(-1, _ROW)
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()
    finite = torch.isfinite(values)
    unknown = ~finite
    clean = values.masked_fill(unknown, 0.0)
    top = clean.abs().amax(dim=1, keepdim=True)
    # Scaled by a power of two nothing is rounded, and no square is too small or too large.
    mantissa, _ = torch.frexp(top)
    scale = (top / (2 * mantissa)).masked_fill(top == 0, 1.0)
    scaled = clean / scale
    count = finite.sum(dim=1, keepdim=True).double()
    divisor = count.clamp(min=1)
    shift = (scaled.sum(dim=1, keepdim=True, dtype=torch.float64) / divisor).to(values.dtype)
    away = (scaled - shift).masked_fill(unknown, 0.0)
    total = away.sum(dim=1, keepdim=True, dtype=torch.float64)
    spread = (away.double().square().sum(dim=1, keepdim=True) - total.square() / divisor).clamp(min=0).sqrt()
    norm = scaled.double().square().sum(dim=1, keepdim=True).sqrt()
    mean = shift.double() + total / divisor
    nan = torch.isnan(values).sum(dim=1, keepdim=True)
    inf = values.shape[1] - count - nan
    zeros = (values == 0).sum(dim=1, keepdim=True)
    wide = scale.double()
    return torch.cat([count, wide * mean, wide * spread, wide * norm, top.double(), zeros, nan, inf], dim=1)


def _merge(partials: list[torch.Tensor], owners: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
    """[tensors, COLUMNS] of the rows of `partials`; `facts` is what `measure_on_device` knows."""
    absent, stored, padding, present = facts
    rows = torch.cat([*partials, facts.new_zeros(0, 8)])
    count, mean, spread, norm, top, zeros, nan, inf = rows.unbind(dim=1)

    def added(values: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(absent).index_add_(0, owners, values)

    most = torch.zeros_like(absent).scatter_reduce_(0, owners, top, "amax")
    scale = most.masked_fill(most == 0, 1.0)
    of_row = scale[owners]
    mean = mean / of_row
    counts = added(count) + absent
    divisor = counts.clamp(min=1)
    centre = added(count * mean) / divisor
    between = added(count * (mean - centre[owners]).square()) + absent * centre.square()
    variance = ((added((spread / of_row).square()) + between) / divisor).clamp(min=0)
    nans, infs = added(nan) - padding, added(inf)
    # No finite element at all: the moments are unknown. An empty gradient has moments of zero.
    unknown = (present == 0) | ((counts == 0) & (nans + infs > 0))
    nan_if, none = torch.Tensor.masked_fill, float("nan")
    columns = {
        "has_grad": present,
        "gradient_norm": nan_if(scale * added((norm / of_row).square()).sqrt(), unknown, none),
        "gradient_mean": nan_if(scale * centre, unknown, none),
        "gradient_std": nan_if(scale * variance.sqrt(), unknown, none),
        "gradient_max_abs": nan_if(most, unknown, none),
        "gradient_zero_fraction": nan_if((added(zeros) + absent) / stored, stored == 0, none),
        "gradient_nan": nan_if(nans, present == 0, none),
        "gradient_inf": nan_if(infs, present == 0, none),
    }
    return torch.stack([columns[name] for name in COLUMNS], dim=1)
