"""Salted hashes of single examples, to see the same one twice: kept in memory, never written."""

import os
from typing import Any

import numpy
import torch

from gradaudit.record.observe.batches.moments import spacing

_ELEMENTS = 256  # of an example, evenly spaced
_LOOKED = 64  # of them, to see how different they are
_DIFFERENT = 8  # numbers: short sentences and one-hot columns have fewer, and equals by chance
_ROWS = 256  # examples of a batch that are hashed
_DTYPES = {torch.float32: "<u4", torch.float64: "<u8", torch.int64: "<i8", torch.int32: "<i4", torch.uint8: "u1",
           torch.float16: "<u2"}  # fmt: skip


def rich(tensor: torch.Tensor) -> Any:
    """[examples]: which of them hold so many different numbers that an equal one is a copy, and no chance.

    Those of floating tensors alone; None of another one.
    """
    rows = tensor[:_ROWS]
    flat = rows.reshape(len(rows), -1)
    if not tensor.is_floating_point() or flat.shape[1] < _DIFFERENT:
        return None
    ordered = flat[:, :: spacing(flat.shape[1], _LOOKED)].float().sort(dim=1).values
    return ((ordered[:, 1:] != ordered[:, :-1]).sum(dim=1) + 1 >= _DIFFERENT).numpy()


class Hasher:
    """Hashes with a salt of this process."""

    def __init__(self) -> None:
        # Neither torch's nor numpy's nor Python's random numbers, which are the script's.
        raw = numpy.frombuffer(os.urandom(8 * _ELEMENTS), dtype="<u8")
        self._weights = raw | numpy.uint64(1)

    def of(self, tensor: torch.Tensor) -> Any:
        """[examples] hashes of up to 256 examples of a tensor [examples, ...] on the CPU; None of one with no reading.

        Of whole numbers what repeats at the end of a sequence is left out: it is padding.
        """
        kind = _DTYPES.get(tensor.dtype)
        if kind is None or tensor.ndim < 2 or tensor.requires_grad:
            return None
        rows = tensor[:_ROWS]
        flat = rows.reshape(len(rows), -1)
        table = flat[:, :: spacing(flat.shape[1], _ELEMENTS)].contiguous().numpy().view(kind)
        if not table.shape[1]:
            return None
        # As whole numbers that wrap around.
        numbers = table.astype("<i8").view("<u8") if kind.startswith("<i") else table.astype("<u8")
        if kind.startswith("<i"):
            numbers = numbers - numbers[:, -1:]
        hashed = (numbers * self._weights[: numbers.shape[1]]).sum(axis=1, dtype="<u8")
        return hashed ^ (hashed >> numpy.uint64(29))
