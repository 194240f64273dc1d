"""What a loss without classes is trained towards: which of its two sides that is, and how it is spread and drifts."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

PARTS = 16  # of the training; when all are full, two make one
_TOGETHER = 64  # calls that are worked out at once: on a device each operation is a launch of its own
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
    outputs: torch.Tensor  # [2, outputs]: the sum over the examples, and that of the squares
    calls: int = 0  # in `parts`
    length: int = _TOGETHER // PARTS  # calls in one part
    waiting: list[torch.Tensor] = field(default_factory=list)  # [2] of each further call: its mean, and that of squares
    rows: int = 0  # examples in `outputs`; -1 when the number of outputs changed on the way

    def add(self, sums: torch.Tensor, rows: int) -> None:
        """Take in one call: `sums` [2, outputs] are those of its targets and of their squares."""
        if self.rows >= 0 and sums.shape == self.outputs.shape:
            self.outputs += sums
            self.rows += rows
        else:
            self.rows = -1
        self.waiting.append(sums.sum(dim=1) / (rows * sums.shape[1]))
        if len(self.waiting) == _TOGETHER:
            self._settle()

    def _settle(self) -> None:
        """Add what waits to the parts; when all of those are full, two make one."""
        if self.calls == PARTS * self.length:
            halves = self.parts.view(PARTS // 2, 2, 4).sum(dim=1)
            self.parts = torch.cat([halves, torch.zeros_like(halves)])
            self.length *= 2
        mean, square = torch.stack(self.waiting).unbind(dim=1)
        spread = (square - mean * mean).clamp(min=0).sqrt()
        each = torch.stack([mean, mean * mean, spread, spread * spread], dim=1)
        first, count = self.calls // self.length, max(1, _TOGETHER // self.length)
        self.parts[first : first + count] += each.view(count, -1, 4).sum(dim=1)
        self.calls, self.waiting = self.calls + _TOGETHER, []


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
        targets = Targets(sums.new_zeros((PARTS, 4)), torch.zeros_like(sums))
    # A model that moves to another device begins no new record, and its values would have to be waited for.
    if sums.device == targets.outputs.device:
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
    parts = _parts(targets)
    calls = sum(part[0] for part in parts)
    if not calls:
        return {}
    # [4]: mean over the calls of their mean, of its square, of their spread, and of its square
    means = [sum(part[1 + index] for part in parts) / calls for index in range(4)]
    mean, variance = means[0], means[1] + means[3] - means[0] ** 2
    within = None
    if targets.rows > 0:
        of_outputs = [(total / targets.rows, squares / targets.rows) for total, squares in targets.outputs.T.tolist()]
        mean = sum(total for total, _ in of_outputs) / len(of_outputs)
        variance = sum(squares for _, squares in of_outputs) / len(of_outputs) - mean**2
        within = sum(squares - total**2 for total, squares in of_outputs) / len(of_outputs)
        within = within * targets.rows / (targets.rows - 1) if targets.rows > 1 else None
    found: dict[str, Any] = {}
    if math.isfinite(mean) and math.isfinite(variance):
        found |= {"target_mean": mean, "target_variance": max(0.0, variance)}
    if within is not None and math.isfinite(within):
        found["output_variance"] = max(0.0, within)
    told = [
        [
            count,
            mean / count,
            _scatter(mean, mean_square, count),
            spread / count,
            _scatter(spread, spread_square, count),
        ]
        for count, mean, mean_square, spread, spread_square in parts
    ]
    if all(math.isfinite(value) for part in told for value in part):
        found["target_parts"] = told
    return found


def _parts(targets: Targets) -> list[list[float]]:
    """The parts so far, [calls, their four sums] each, with the calls that still wait."""
    length, calls, waiting = targets.length, targets.calls, list(targets.waiting)
    begun = targets.parts.tolist()[: -(-calls // length)]
    parts = [[float(min(length, calls - place * length)), *sums] for place, sums in enumerate(begun)]
    for pair in waiting:
        mean, square = pair.tolist()
        spread = math.sqrt(max(0.0, square - mean * mean)) if math.isfinite(square) else math.nan
        if not parts or parts[-1][0] == length:
            parts.append([0.0] * 5)
        parts[-1] = [one + other for one, other in zip(parts[-1], (1, mean, mean**2, spread, spread**2), strict=True)]
    return parts


def _scatter(total: float, squares: float, count: float) -> float:
    """The standard deviation of `count` values with this sum and this sum of squares; NaN stays NaN."""
    variance = squares / count - (total / count) ** 2
    return 0.0 if variance < 0 else math.sqrt(variance) if math.isfinite(variance) else math.nan
