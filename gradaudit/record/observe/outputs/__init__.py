"""Targets and outputs of the training loss, column by column, and the loss at the positions of a sequence."""

import operator
from dataclasses import dataclass, field
from typing import Any

import torch

from gradaudit.record.measure.transfer import to_host
from gradaudit.record.observe.loss.labels import BINARY, CLASSIFICATION, REGRESSION
from gradaudit.record.observe.loss.targets import sides
from gradaudit.record.observe.outputs import columns, layout, positions
from gradaudit.record.observe.outputs.layout import Layout
from gradaudit.record.observe.outputs.parts import COSTLY, SPARSE, Parts
from gradaudit.schema import OutputFacts
from gradaudit.schema.outputs import POSITIONS, ColumnFacts, PositionFacts

OUTPUTS = "targets and outputs"  # the observer

_MOST = 16  # losses that sequences, and as many that columns are looked at of
_LOOKS = 8  # calls of a loss whose layout is looked for before it is given up


@dataclass(eq=False)
class _Sequences:
    """One loss over integer targets, in training and in evaluation."""

    loss: int
    classes: int
    training: Parts = field(default_factory=lambda: Parts(operator.add))
    evaluation: Parts = field(default_factory=lambda: Parts(operator.add))
    layout: Layout | None = None
    length: int = 0
    missed: int = 0  # calls whose layout was not known


@dataclass(eq=False)
class _Columns:
    """One loss without classes, in training."""

    loss: int
    width: columns.Width
    logits: bool
    parts: Parts = field(default_factory=lambda: Parts(columns.join))


class Outputs:
    """What is known so far. Used under the recording's lock."""

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._sequences: dict[int, _Sequences] = {}
        self._columns: dict[int, _Columns] = {}
        self._layouts: dict[int, Layout] = {}  # of the training, by the number of classes
        self._inside: set[int] = set()  # losses whose sequences a compiled region hides

    def look(self, loss: int, name: str, call: dict[str, Any], training: bool, known: bool = True) -> None:
        """A loss was called, in `training` or evaluation; whether its input and its target are `known`."""
        if not self._enabled:
            return
        if not known:
            if name in CLASSIFICATION and not call["target"].is_floating_point():
                self._inside.add(loss)
        elif name in CLASSIFICATION:
            self._look_at_sequences(loss, name, call, training)
        elif training and (name in REGRESSION or name in BINARY):
            self._look_at_columns(loss, name, call)

    def _look_at_sequences(self, loss: int, name: str, call: dict[str, Any], training: bool) -> None:
        entry = self._sequences.get(loss)
        input, target = call["input"], call["target"]
        if entry is None:
            if len(self._sequences) == _MOST or input.ndim < 2 or target.is_floating_point():
                return
            entry = self._sequences[loss] = _Sequences(loss, int(input.shape[1]))
            costly = positions.is_costly(entry.classes)
            # Evaluations have fewer calls than the training.
            entry.training.stride, entry.evaluation.stride = (COSTLY, SPARSE) if costly else (SPARSE, 1)
        parts = entry.training if training else entry.evaluation
        if (entry.missed >= _LOOKS and not parts.held) or not parts.due():
            return
        if not _plain(input) or not _plain(target) or target.is_floating_point() or not target.numel():
            return
        found = self._layout(loss, input, target, training)
        if found is None or not layout.fits(found, input, target):
            entry.missed += 1
            return
        with torch.no_grad():
            numbers = positions.measure(input.detach(), target, found, call.get("ignore_index"), name == "nll_loss")
        parts.add(numbers)
        if training or entry.layout is None:
            entry.layout = self._layouts[entry.classes] = found
            entry.length = max(entry.length, found.second)

    def _layout(self, loss: int, input: torch.Tensor, target: torch.Tensor, training: bool) -> Layout | None:
        found = layout.of_shapes(input, target)
        if found is not None or input.ndim != 2 or target.ndim != 1:
            return found
        found, hidden = layout.of_views(input, target)
        if hidden:
            self._inside.add(loss)
        before = self._layouts.get(int(input.shape[1]))
        if found is None and before is not None and not training:
            found = layout.remembered(before, int(input.shape[0]))
        return found

    def _look_at_columns(self, loss: int, name: str, call: dict[str, Any]) -> None:
        output, target, _ = sides(call, False)
        if output.shape != target.shape or not output.ndim or not target.is_floating_point():
            return
        entry = self._columns.get(loss)
        if entry is None:
            if len(self._columns) == _MOST or not output.numel():
                return
            entry = _Columns(loss, columns.width_of(output), name.endswith("with_logits"))
            self._columns[loss] = entry
        if not entry.parts.due() or not output.numel() or not _plain(output) or not _plain(target):
            return
        if columns.width_of(output) == entry.width:
            with torch.no_grad():
                entry.parts.add(columns.measure(output, target, entry.logits))

    def facts(self) -> OutputFacts:
        """What goes into run.json; called by the writer's thread, waits for the device."""
        found = []
        for entry in list(self._sequences.values()):
            found += _of_sequences(entry)
        return OutputFacts(
            looked=True,
            positions=found,
            columns=[_of_columns(entry) for entry in list(self._columns.values()) if entry.parts.held],
            inside=len(self._inside),
        )


def _of_sequences(entry: _Sequences) -> list[PositionFacts]:
    seen = entry.layout
    if seen is None:
        return []
    training, evaluation = (to_host(parts.held) for parts in (entry.training, entry.evaluation))
    found = []
    for axis in (1,) if seen.classes_inside else (1, 0):
        place = 1 - axis
        mine, others = ([numbers[place] for numbers in some if len(numbers) > place] for some in (training, evaluation))
        length = entry.length if axis else seen.first
        if length < POSITIONS:
            continue
        found.append(
            PositionFacts(
                loss=entry.loss,
                classes=entry.classes,
                time_axis=axis,
                length=length,
                whole=seen.whole and all(positions.is_whole(numbers) for numbers in mine[-1:]),
                training=[positions.part_of(numbers) for numbers in mine],
                evaluation=[positions.part_of(numbers) for numbers in others],
            )
        )
    return found


def _of_columns(entry: _Columns) -> ColumnFacts:
    held = to_host(entry.parts.held)
    return ColumnFacts(
        loss=entry.loss,
        outputs=entry.width.outputs,
        seen=entry.width.seen,
        probabilities=entry.logits,
        parts=columns.parts_of(held),
        columns=columns.columns_of(held),
    )


def _plain(tensor: torch.Tensor) -> bool:
    return type(tensor) is torch.Tensor and tensor.layout == torch.strided and not tensor.is_complex()
