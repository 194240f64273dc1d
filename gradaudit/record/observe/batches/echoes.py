"""Targets of one number an example that are among the inputs: equal to the same input position in every example."""

from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from gradaudit.record.observe.batches.padding import INPUTS, TARGETS
from gradaudit.schema.loaders import EchoFacts

_ROWS = 64
_MOST_POSITIONS = 16_384
_GRAM = 6  # values in a row that two windows of one series share
_MOST_SERIES = 512  # positions of a series that are held against each other


@dataclass
class Echoes:
    """The positions of the input that were equal to the target in all examples so far."""

    batches: int = 0
    examples: int = 0
    windows: int = 0
    shape: tuple[int, ...] = ()  # of an example of the input
    positions: Any = None  # [positions]: whether it was equal in all
    over: bool = False  # none was, or the batches are others
    values: set[bytes] = field(default_factory=set)  # different targets, two at the most; kept in memory alone

    def look(self, tensors: dict[str, torch.Tensor]) -> None:
        """Look at a batch, by the places of its tensors."""
        pair = None if self.over else _pair(tensors)
        if pair is None:
            return
        table, target = (each[:_ROWS].detach().numpy() for each in pair)
        shape, target = table.shape[1:], target.reshape(len(table))
        equal = (table.reshape(len(table), -1) == target[:, None]).all(axis=0)
        self.positions = equal if self.positions is None else self.positions
        self.shape = self.shape or shape
        if shape != self.shape:
            self.over = True
            return
        self.positions = self.positions & equal
        self.over = not self.positions.any()
        self.batches += 1
        self.examples += len(table)
        if len(self.values) < 2:
            self.values |= {value.tobytes() for value in target[:2]}
        if not self.over:
            self.windows += any(_overlap(one) for one in _series(table, int(self.positions.argmax())))

    def facts(self) -> EchoFacts:
        """What goes into run.json: nothing, where the target is not among the inputs."""
        positions = self.positions
        if self.over or positions is None or len(self.values) < 2:
            return EchoFacts()
        # Of several the last: a window ends with what is nearest to the target.
        last = len(positions) - 1 - int(positions[::-1].argmax())
        return EchoFacts(
            batches=self.batches, examples=self.examples, windows=self.windows, sizes=list(self.shape),
            position=[int(place) for place in numpy.unravel_index(last, self.shape)], positions=int(positions.sum()),
        )  # fmt: skip


def _pair(tensors: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The input and the target of a batch, where that is one number for each example and the input has more."""
    target = next((tensors[name] for name in TARGETS if name in tensors), tensors.get("1"))
    given = next((tensors[name] for name in INPUTS if name in tensors), tensors.get("0"))
    if given is None or target is None or given is target or given.ndim not in (2, 3) or not len(given):
        return None
    if given.dtype not in (torch.float32, torch.float64) or target.dtype != given.dtype:
        return None
    fits = len(target) == len(given) == target.numel() if target.ndim else False
    return (given, target) if fits and 1 < given[0].numel() <= _MOST_POSITIONS else None


def _series(table: Any, position: int) -> list[Any]:
    """[examples, positions]: the series along each axis that a position of an example is part of."""
    if table.ndim == 2:
        return [table]
    first, second = numpy.unravel_index(position, table.shape[1:])
    return [table[:, :, second], table[:, first]]


def _overlap(series: Any) -> bool:
    """Whether some examples are windows of one series: they hold the same values in a row, at other positions."""
    series = series[:, -_MOST_SERIES:]
    if series.shape[1] <= _GRAM:
        return False
    grams = numpy.lib.stride_tricks.sliding_window_view(series, _GRAM, axis=1)  # [examples, starts, values]
    ordered = numpy.sort(grams, axis=2)
    differ = (ordered[:, :, 1:] != ordered[:, :, :-1]).all(axis=2)
    starts = numpy.nonzero(differ)[1]
    # By the first and the last value; all are compared where these are equal.
    known = grams[differ]
    order = numpy.lexsort((known[:, -1], known[:, 0]))
    known, starts = known[order], starts[order]
    same = (known[1:] == known[:-1]).all(axis=1)
    return bool((same & (starts[1:] != starts[:-1])).any())
