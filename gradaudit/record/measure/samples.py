"""Small samples of what goes into a loss, into a model, or comes out of an activation, and their numbers.

The training thread copies a bounded sample; on the CPU the writer's thread turns it into numbers,
elsewhere the device does. Nothing here waits for a device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

ELEMENTS = 8192  # of one sample; more only where four whole rows of a large vocabulary are more
ROWS = 512  # examples looked at
MOST_UNITS = 4096  # features or units of which every one is looked at; of more a part is taken
_FEWEST_ROWS = 4  # fewer tell nothing about the spread over a batch
_MOST_OUTPUTS = 64  # of a loss without classes: more of its examples tell more than more of its outputs
_KEPT = 65_536  # elements kept for the writer's thread; more are summed up at once

NUMBERS = (
    "minimum",
    "maximum",
    "mean",
    "std",
    "nonfinite",
    "row_sum_error",
    "batch_spread",
    "feature_std_ratio",
    "saturated_fraction",
    "zero_fraction",
    "dead_fraction",
)


@dataclass(eq=False)
class Sample:
    """A sample, [batch, units, positions], and what is asked of it; `numbers` where they were computed at once."""

    kind: str  # as in table `modules`
    values: torch.Tensor | None
    elements: int
    sums: bool = False  # the units of an example are classes, and should not sum to 1
    features: bool = False  # the units are features, which should be of one size
    rectified: bool = False  # a unit that is zero for every example is dead
    limits: tuple[float, float] | None = None  # between which an activation is not saturated
    numbers: torch.Tensor | None = None  # [NUMBERS]

    def row(self, step: int, module: int, loss: int) -> dict[str, Any]:
        """The row of table `modules`; reads the device."""
        numbers = _numbers(self) if self.numbers is None else self.numbers
        row: dict[str, Any] = dict(zip(NUMBERS, numbers.tolist(), strict=True))
        row["nonfinite"] = int(row["nonfinite"])
        return row | {"step": step, "module": module, "loss": loss, "kind": self.kind, "elements": self.elements}


def of_loss(input: torch.Tensor, classes: int) -> Sample | None:
    """A sample of the input of a loss function; `classes` is 0 for a loss without classes."""
    if not classes:
        return take("loss_input", input, most_units=_MOST_OUTPUTS)
    return take("loss_input", input[None] if input.ndim == 1 else input, most_units=classes, sums=True)


def take(
    kind: str, tensor: torch.Tensor, *, units: int = 1, most_units: int = MOST_UNITS, **asked: Any
) -> Sample | None:
    """A copy of a part of `tensor`, [batch, ...], with up to `most_units` of the dimension `units`.

    `asked` are fields of `Sample`. None for what cannot be sampled: an empty tensor, one that is
    sparse, complex, or distributed.
    """
    tensor = tensor.detach()
    if type(tensor) is not torch.Tensor or tensor.layout != torch.strided or not tensor.numel() or tensor.is_complex():
        return None
    if tensor.ndim < 2:
        tensor, units = tensor.reshape(-1, 1), 1
    part = tensor[_places(tensor.shape, units % tensor.ndim, most_units)]
    # A copy: scripts change the tensor in place afterwards, or free it.
    part = part.to(torch.float64 if part.dtype == torch.float64 else torch.float32, copy=True).movedim(units, 1)
    sample = Sample(kind, part.reshape(part.shape[0], part.shape[1], -1), part.numel(), **asked)
    if part.device.type != "cpu" or sample.elements > _KEPT:
        sample.numbers, sample.values = _numbers(sample), None
    return sample


def _places(shape: Sequence[int], units: int, most_units: int) -> tuple[slice, ...]:
    """Evenly spaced places of each dimension, about `ELEMENTS` in all."""
    taken = {units: min(shape[units], most_units)}
    rows = max(_FEWEST_ROWS, ELEMENTS // taken[units])
    taken[0] = min(shape[0], rows, ROWS)
    left = rows // taken[0]
    others = sorted((axis for axis in range(1, len(shape)) if axis != units), key=lambda axis: shape[axis])
    for index, axis in enumerate(others):
        taken[axis] = max(1, min(shape[axis], int(left ** (1 / (len(others) - index)))))
        left //= taken[axis]
    return tuple(_spaced(size, taken[axis]) for axis, size in enumerate(shape))


def _spaced(size: int, count: int) -> slice:
    stride = -(-size // count)
    # Sequences have even lengths: an even stride over their positions laid end to end visits the same few.
    stride += stride > 1 and stride % 2 == 0
    return slice((size - 1) % stride // 2, None, stride)


def _numbers(sample: Sample) -> torch.Tensor:
    """[NUMBERS] in float64 of a sample, without a wait for the device; NaN for what was not asked."""
    with torch.no_grad():
        values = sample.values
        assert values is not None
        values = values.double()
        unknown = values.new_full((), math.nan)
        finite = values.abs() < math.inf
        clean = torch.where(finite, values, 0.0)
        count = finite.sum()
        mean = clean.sum() / count
        least = torch.where(finite, values, math.inf).amin()
        greatest = torch.where(finite, values, -math.inf).amax()
        zero = values == 0
        saturated = unknown
        if sample.limits is not None:
            lower, upper = sample.limits
            saturated = ((clean < lower) | (clean > upper)).double().mean()
        return torch.stack(
            [
                torch.where(count > 0, least, unknown),
                torch.where(count > 0, greatest, unknown),
                mean,
                (torch.where(finite, values - mean, 0.0).square().sum() / count).sqrt(),
                (~finite).sum().double(),
                _finite_mean((values.sum(1) - 1).abs()) if sample.sums else unknown,
                _finite_mean(_spread(values, 0)) if values.shape[0] > 1 else unknown,
                _ratio_of_features(values) if sample.features and values.shape[0] > 1 else unknown,
                saturated,
                zero.double().mean(),
                zero.all(2).all(0).double().mean() if sample.rectified else unknown,
            ]
        )


def _finite_mean(values: torch.Tensor) -> torch.Tensor:
    """The mean of the finite values; NaN when there are none."""
    finite = values.abs() < math.inf
    return torch.where(finite, values, 0.0).sum() / finite.sum()


def _spread(values: torch.Tensor, dimensions: int | tuple[int, ...]) -> torch.Tensor:
    """The sample standard deviation; Tensor.std is thirty times slower over a leading dimension."""
    off = values - values.mean(dimensions, keepdim=True)
    squares = off.square().sum(dimensions)
    return (squares / max(1, values.numel() // max(1, squares.numel()) - 1)).sqrt()


def _ratio_of_features(values: torch.Tensor) -> torch.Tensor:
    """The largest standard deviation of a feature by the smallest one that is not zero; NaN when all are zero."""
    spread = _spread(values, (0, 2))
    varies = (spread > 0) & (spread < math.inf)
    greatest = torch.where(varies, spread, -math.inf).amax()
    return torch.where(varies.any(), greatest / torch.where(varies, spread, math.inf).amin(), math.nan)
