"""Means and variances of targets and outputs, one for each output of a loss without classes, on a sample of calls."""

import math
from typing import Any, NamedTuple

import torch

from gradaudit.schema.outputs import Column, ColumnPart

MOST_COLUMNS = 4096
_ELEMENTS = 16_384  # of one call looked at
_FEWEST = 2  # rows of one call, to tell how outputs differ
_LISTED = 64  # columns that are listed one by one
# Rows of the numbers [7, columns] of a part.
_ROWS, _BATCHES, _MEAN, _TARGETS, _OUTPUTS, _ERRORS = range(6)


class Width(NamedTuple):
    """How many outputs an example has, and how many are looked at."""

    outputs: int
    seen: int


def width_of(tensor: torch.Tensor) -> Width:
    """The columns of outputs [examples, ...]."""
    outputs = math.prod(tensor.shape[1:])
    return Width(outputs, len(range(0, outputs, _stride(outputs, MOST_COLUMNS))))


def measure(output: torch.Tensor, target: torch.Tensor, logits: bool) -> torch.Tensor:
    """[6, columns]: rows, batches, mean of the targets, sums of squares of targets, outputs and errors; of one call.

    Those of targets and outputs are about their means.
    """
    outputs = math.prod(output.shape[1:])
    columns = slice(None, None, _stride(outputs, MOST_COLUMNS))
    seen = len(range(*columns.indices(outputs)))
    rows = slice(None, None, _stride(output.shape[0], max(_FEWEST, _ELEMENTS // seen)))
    given, wanted = (side.detach()[rows].reshape(-1, outputs)[:, columns].float() for side in (output, target))
    given = given.sigmoid() if logits else given
    mean = wanted.mean(0)
    count = torch.full_like(mean, len(wanted))
    squares = [(side - side.mean(0)).square().sum(0) for side in (wanted, given)]
    return torch.stack([count, torch.ones_like(mean), mean, *squares, (given - wanted).square().sum(0)])


def join(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The numbers of two parts as one: of the targets about their common mean, of the outputs within each batch."""
    total = one + other
    apart, count = other[_MEAN] - one[_MEAN], total[_ROWS]
    mean = one[_MEAN] + apart * other[_ROWS] / count
    between = apart.square() * one[_ROWS] * other[_ROWS] / count
    return torch.stack([count, total[_BATCHES], mean, total[_TARGETS] + between, total[_OUTPUTS], total[_ERRORS]])


def parts_of(held: list[torch.Tensor]) -> list[ColumnPart]:
    """What each part says, on the host."""
    whole = _mean_and_variance(held)[0]
    return [
        ColumnPart(
            rows=int(numbers[_ROWS, 0]),
            target_variance=_mean(_variance(numbers, _TARGETS)),
            target_shift=_mean((numbers[_MEAN] - whole).square()),
            output_variance=_mean(_variance(numbers, _OUTPUTS)),
            error=_mean(numbers[_ERRORS] / numbers[_ROWS]),
        )
        for numbers in held
    ]


def columns_of(held: list[torch.Tensor]) -> list[Column]:
    """What each column says, where they are few: the targets of all parts, the outputs of the last quarter."""
    if held[0].shape[1] > _LISTED:
        return []
    (mean, variance), last = _mean_and_variance(held), _joined(held[-max(1, len(held) // 4) :])
    return [
        Column(
            target_mean=_known(float(mean[index])),
            target_std=_root(float(variance[index])),
            output_std=_root(float(_variance(last, _OUTPUTS)[index])),
            error=_known(float(last[_ERRORS, index] / last[_ROWS, index])),
        )
        for index in range(held[0].shape[1])
    ]


def _mean_and_variance(held: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """[columns] each, of the targets of the whole training: every part counts alike, however many rows it has."""
    means = torch.stack([numbers[_MEAN] for numbers in held])
    within = torch.stack([_variance(numbers, _TARGETS) for numbers in held])
    return means.mean(0), within.nanmean(0) + (means - means.mean(0)).square().mean(0)


def _joined(held: list[torch.Tensor]) -> torch.Tensor:
    total = held[0]
    for numbers in held[1:]:
        total = join(total, numbers)
    return total


def _variance(numbers: torch.Tensor, row: int) -> torch.Tensor:
    """[columns]: unbiased; NaN where every batch had one row."""
    free = numbers[_ROWS] - (numbers[_BATCHES] if row == _OUTPUTS else 1)
    return torch.where(free > 0, numbers[row] / free.clamp(min=1), math.nan)


def _mean(values: Any) -> float | None:
    return _known(float(values.double().mean()))


def _root(variance: float) -> float | None:
    return _known(math.sqrt(variance)) if variance >= 0 else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _stride(size: int, most: int) -> int:
    stride = -(-size // most)
    # Images have even sides: an even stride would visit the same few of their columns.
    return max(1, stride + (stride > 1 and stride % 2 == 0))
