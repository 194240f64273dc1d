"""What a loss without classes is trained towards: which of its two sides that is, and how it is spread and drifts."""

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch

PARTS = 16  # of the training; when all are full, two make one
_SAMPLE = 4096  # elements of a target looked at in one call
_OUTPUTS = 256  # of an example, evenly spaced: more of its examples tell more than more of its outputs


def sides(call: dict[str, Any], swapped: bool) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """The prediction and the target of a loss that takes them in either order, and whether the target came first.

    The side that is trained is the prediction. Where neither is, in an evaluation, they are as they were in training.
    """
    first, second = call["input"], call["target"]
    if second.requires_grad != first.requires_grad:
        swapped = second.requires_grad
    return (second, first, True) if swapped else (first, second, False)


@dataclass(eq=False)
class Targets:
    """Sums over the targets of a regression so far, on their device; they do not grow with the training."""

    parts: torch.Tensor  # [PARTS, 4]: over the calls of a part, their mean and its square, their spread and its square
    total: torch.Tensor  # [2]: the elements looked at and their squares
    outputs: torch.Tensor  # [2, outputs]: the same of each output
    calls: int = 0
    length: int = 1  # calls in one part
    elements: int = 0
    rows: int = 0  # behind `outputs`; 0 when their number changed on the way

    def add(self, sums: torch.Tensor, rows: int) -> None:
        """Take in one call: `sums` [2, outputs] are those of its targets and of their squares."""
        count = rows * sums.shape[1]
        mean, square = sums.sum(dim=1).div(count)
        spread = (square - mean * mean).clamp(min=0).sqrt()
        if self.calls == PARTS * self.length:
            halves = self.parts.view(PARTS // 2, 2, 4).sum(dim=1)
            self.parts = torch.cat([halves, torch.zeros_like(halves)])
            self.length *= 2
        self.parts[self.calls // self.length] += torch.stack([mean, mean * mean, spread, spread * spread])
        self.total += sums.sum(dim=1)
        self.elements += count
        same = sums.shape == self.outputs.shape and (self.rows > 0 or not self.calls)
        self.rows = self.rows + rows if same else 0
        if same:
            self.outputs += sums
        self.calls += 1


def observe(targets: Targets | None, target: torch.Tensor) -> Targets | None:
    """Take in the targets of one call on their device."""
    if not target.numel() or target.is_complex():
        return targets
    rows, columns, shape = _places(target.shape)
    table = target[rows].reshape(shape)[:, columns].double() if target.ndim else target.double().reshape(1, 1)
    return _taken(targets, torch.stack([table.sum(dim=0), table.square().sum(dim=0)]), len(table))


def observe_on_host(targets: Targets | None, values: Any, shape: Any) -> Targets | None:
    """The same for targets on the CPU: `values` [elements] of a tensor of this shape."""
    if not len(values):
        return targets
    rows, columns, (_, width) = _places(shape)
    table = values.reshape(-1, width)[rows, columns].astype(numpy.float64)
    sums = numpy.stack([table.sum(axis=0), (table * table).sum(axis=0)])
    return _taken(targets, torch.from_numpy(sums), len(table))


def _taken(targets: Targets | None, sums: torch.Tensor, rows: int) -> Targets | None:
    if targets is None:
        parts = torch.zeros((PARTS, 4), dtype=torch.float64, device=sums.device)
        targets = Targets(parts, parts.new_zeros(2), torch.zeros_like(sums))
    # A model that moves to another device begins no new record, and its values would have to be waited for.
    if sums.device == targets.parts.device:
        targets.add(sums, rows)
    return targets


def _places(shape: Any) -> tuple[slice, slice, tuple[int, int]]:
    """Which rows and columns of [examples, outputs] are looked at, and that shape; -1 is the number of rows."""
    width = math.prod(shape[1:])
    columns = _spaced(width, _OUTPUTS)
    seen = len(range(*columns.indices(width)))
    return _spaced(shape[0] if len(shape) else 1, max(1, _SAMPLE // seen)), columns, (-1, width)


def _spaced(size: int, most: int) -> slice:
    stride = -(-size // most)
    # Images have even sides: an even stride would visit the same few of their columns.
    return slice(None, None, stride + (stride > 1 and stride % 2 == 0))


def facts_of(targets: Targets) -> dict[str, Any]:
    """The fields of `LossFacts` that the sums on the host give; those that are not finite are left out."""
    found: dict[str, Any] = {}
    count, (total, squares) = targets.elements, targets.total.tolist()
    mean, variance = total / count, _variance(total, squares, count)
    if math.isfinite(mean) and math.isfinite(variance):
        found |= {"target_mean": mean, "target_variance": variance}
    if targets.rows > 1:
        sums_of = zip(*targets.outputs.tolist(), strict=True)
        of_outputs = [_variance(total, squares, targets.rows) for total, squares in sums_of]
        within = sum(of_outputs) / len(of_outputs) * targets.rows / (targets.rows - 1)
        if math.isfinite(within):
            found["output_variance"] = within
    parts = []
    for number, sums in enumerate(targets.parts.tolist()):
        calls = min(targets.length, targets.calls - number * targets.length)
        if calls > 0:
            mean, mean_square, spread, spread_square = sums
            errors = (_variance(mean, mean_square, calls), _variance(spread, spread_square, calls))
            parts.append([calls, mean / calls, math.sqrt(errors[0]), spread / calls, math.sqrt(errors[1])])
    if all(math.isfinite(value) for part in parts for value in part):
        found["target_parts"] = parts
    return found


def _variance(total: float, squares: float, count: float) -> float:
    """That of `count` values with this sum and this sum of squares; NaN stays NaN."""
    variance = squares / count - (total / count) ** 2
    return 0.0 if variance < 0 else variance
