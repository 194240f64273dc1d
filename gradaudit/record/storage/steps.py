"""How a batch of steps becomes rows.

What is measured stays where it was computed until the writer's thread asks for it, so that the
training thread never waits for a device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy
import torch

from gradaudit.record.measure.device import probed_columns
from gradaudit.record.measure.ring import HostCopy, Slot
from gradaudit.record.measure.sampler import COLUMNS as SAMPLED_COLUMNS
from gradaudit.record.measure.stats import COLUMNS
from gradaudit.record.measure.transfer import to_host
from gradaudit.record.observe.loss.calls import LossCall
from gradaudit.record.observers import (
    AMP_SCALES,
    EMBEDDING_ROWS,
    EVALUATION_LOSSES,
    GRADIENT_CLIPPING,
    GRADIENT_STATISTICS,
    HISTOGRAM_COUNTS,
    LOSS_INPUTS,
    LOSSES,
    OBJECTIVES,
    OPERATION_TRACE,
    STALE_GRADIENTS,
    WEIGHT_CHECKSUMS,
    Observers,
)
from gradaudit.record.storage.step_record import StepRecord, StepRow, TensorStatistics
from gradaudit.schema import EVALUATIONS, EVENTS, HISTOGRAMS, MODULES, OPERATIONS, ROWS, STEPS, TENSORS, Table

Columns = dict[str, Any]


@dataclass(eq=False)
class WriteBatch:
    """Everything handed over at once; calling it gives the rows of each table."""

    steps: list[StepRecord]
    evaluations: list[dict[str, Any]]
    events: list[dict[str, Any]]
    observers: Observers
    ready: list[Any] = field(default_factory=list)  # events after the last measurements, of each device
    away: bool = True  # some values may be on a device

    def __call__(self) -> dict[str, Columns]:
        """Wait for what is still on its way from a device, and lay everything out as columns."""
        if not self.away:
            return self._tables()
        all_measured = [step.tensors for step in self.steps if step.tensors is not None]
        arrivals = _arrivals(all_measured)
        for arrival in arrivals:
            arrival.wait()
        for measured in all_measured:
            if isinstance(measured.gradients, Slot):
                slot, rows = measured.gradients, measured.gradients.read()
                measured.gradients = rows[:, : len(COLUMNS)]
                if slot.probed:
                    measured.probed = probed_columns(rows)
        for arrival in arrivals:
            arrival.release()
        self.steps, self.evaluations = to_host((self.steps, self.evaluations), self.ready)
        return self._tables()

    def _tables(self) -> dict[str, Columns]:
        call = self.observers.call
        rows = [_finish(step, self.observers) for step in self.steps]
        evaluations = call(EVALUATION_LOSSES, _evaluations, self.evaluations, default=[])
        # Of most steps there is a row of `steps` and nothing else.
        more = [step for step in self.steps if step.row.recorded or step.tensors is not None or step.operations]
        return {
            "steps": {column.name: [*map(attrgetter(column.name), rows)] for column in STEPS.columns},
            "evaluations": _columns(EVALUATIONS, evaluations),
            "tensors": call(GRADIENT_STATISTICS, _tensor_columns, self.steps, default=None) or _columns(TENSORS, []),
            "histograms": _columns(HISTOGRAMS, call(HISTOGRAM_COUNTS, _flat, _histograms, more, default=[])),
            "rows": _columns(ROWS, call(EMBEDDING_ROWS, _flat, _snapshots, more, default=[])),
            "modules": _columns(MODULES, call(LOSS_INPUTS, _flat, _sampled, more, default=[])),
            "operations": _columns(OPERATIONS, call(OPERATION_TRACE, _flat, _operations, more, default=[])),
            "events": _columns(EVENTS, self.events),
        }


def _flat(rows_of: Callable[[StepRecord], list[dict[str, Any]]], steps: Sequence[StepRecord]) -> list[dict[str, Any]]:
    return [row for step in steps for row in rows_of(step)]


def _evaluations(evaluated: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of table `evaluations`: the total of each becomes the mean."""
    rows = [{name: _number(value) for name, value in row.items()} for row in evaluated]
    return [{**row, "mean_loss": row["mean_loss"] / row["targets"] if row["targets"] else math.nan} for row in rows]


def _operations(step: StepRecord) -> list[dict[str, Any]]:
    """The rows of table `operations`."""
    return step.operations.rows(step.row.global_step) if step.operations is not None else []


def _snapshots(step: StepRecord) -> list[dict[str, Any]]:
    """The rows of table `rows`."""
    key = {"optimizer": step.row.optimizer, "step": step.row.step}
    snapshots = step.tensors.snapshots if step.tensors is not None else []
    return [{**key, "tensor": tensor, **snapshot.row()} for tensor, snapshot in snapshots]


def drop(steps: Sequence[StepRecord]) -> int:
    """Give up the statistics of steps that the writer is too far behind to take; returns their number."""
    release([step.tensors for step in steps if step.tensors is not None])
    for step in steps:
        step.row.recorded, step.tensors, step.samples = False, None, ()
    return len(steps)


def release(measured: Sequence[TensorStatistics]) -> None:
    """Let go of the copies under way that hold these."""
    for arrival in _arrivals(measured):
        arrival.release()


def _arrivals(measured: Sequence[TensorStatistics]) -> set[HostCopy]:
    """The copies under way that hold the gradients."""
    slots = [one.gradients for one in measured if isinstance(one.gradients, Slot)]
    return {slot.arrival for slot in slots if slot.arrival is not None}


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


def _array(value: Any) -> Any:
    return value.cpu().numpy() if isinstance(value, torch.Tensor) else value


def _finish(step: StepRecord, observers: Observers) -> StepRow:
    """The row of table `steps`: device values read, losses of the micro-steps combined."""
    row, call = step.row, observers.call
    row.objective = call(OBJECTIVES, _objective, step.roots, default=math.nan)
    row.mean_loss, row.loss, row.targets, row.ignored_targets, row.batch_size = call(
        LOSSES, _mean_loss, step.calls, default=_NO_LOSS
    )
    if step.logged is not None and math.isnan(row.mean_loss):
        row.mean_loss, row.loss = float(_number(step.logged)), step.logged_loss
    scale = call(AMP_SCALES, _unscale, step, row)
    if step.tensors is not None:
        call(GRADIENT_STATISTICS, _norm, step.tensors, row, scale)
    if step.clip_norm is not None or step.clipped is not None:
        call(GRADIENT_CLIPPING, _clipped, step, row)
    if step.weights is not None:
        row.weight_checksum = call(WEIGHT_CHECKSUMS, lambda: int(_number(step.weights)), default=0)
    if step.cleared is not None:
        row.stale = call(STALE_GRADIENTS, lambda: int(not bool(_number(step.cleared))), default=-1)
    return row


_NO_LOSS = (math.nan, -1, 0, 0, 0)


def _unscale(step: StepRecord, row: StepRow) -> float | None:
    """Note what a GradScaler did; gives the scale that the step's gradients still carry."""
    if step.found_inf is not None and _number(step.found_inf) > 0:
        row.skipped = True
    scale = _number(step.amp_scale) if step.amp_scale is not None else None
    # GradScaler unscales in place for other optimizers than fused ones; their scale is the one the loss carried.
    row.amp_scale = scale or _loss_scale(step.roots)
    return scale


def _norm(measured: TensorStatistics, row: StepRow, scale: float | None) -> None:
    """The gradient norm over the optimizer's tensors, of the gradients without the AMP scale."""
    gradients = _array(measured.gradients)
    if scale:
        gradients = gradients.copy()
        gradients[:, 1:5] /= scale  # norm, mean, standard deviation, largest
    measured.gradients = gradients
    norms = gradients[measured.owned, 1]
    finite = norms[~numpy.isnan(norms)]
    largest = float(finite.max(initial=0.0)) or 1.0
    row.gradient_norm = largest * float(numpy.sqrt(((finite / largest) ** 2).sum())) if len(finite) else math.nan
    if measured.sharded or (gradients[measured.owned, 6:8] > 0).any():
        row.gradient_norm = math.nan


def _clipped(step: StepRecord, row: StepRow) -> None:
    if step.clip_norm is not None:
        row.gradient_norm = float(_number(step.clip_norm))
    if step.clipped is not None:
        row.clipped_fraction = float(_number(step.clipped))


def _histograms(step: StepRecord) -> list[dict[str, Any]]:
    """The rows of table `histograms`; gradients of fused optimizers still carry the AMP scale."""
    scale = _number(step.amp_scale) if step.amp_scale is not None else 1.0
    key = {"optimizer": step.row.optimizer, "step": step.row.step}
    return [
        {**key, **row}
        for sampled in (step.tensors.histograms if step.tensors is not None else [])
        for row in sampled.rows(scale if sampled.kind == "gradient" and scale else 1.0)
    ]


def _sampled(step: StepRecord) -> list[dict[str, Any]]:
    """The rows of table `modules`: of modules, and of the input of each loss function at its first call."""
    if not step.row.recorded:
        return []
    number = step.row.global_step
    rows: dict[int, dict[str, Any]] = {}
    for call in step.calls:
        # Optimizers that step one after the other share their losses, and each sample is written once.
        sample, call.sample = call.sample, None
        if sample is not None and call.loss not in rows:
            rows[call.loss] = sample.row(number, -1, call.loss)
    return [*rows.values(), *(sample.row(number, module, -1) for module, sample in step.samples)]


def _loss_scale(roots: Sequence[tuple[torch.Tensor | float, torch.Tensor | None]]) -> float:
    """The AMP scale of the step's last backward root that has one; NaN without."""
    if len(roots) == 1 and roots[0][1] is None:
        return math.nan
    scales = [scale for _, scale in roots if scale is not None]
    return float(_number(scales[-1])) if scales else math.nan


def _objective(roots: Sequence[tuple[torch.Tensor | float, torch.Tensor | None]]) -> float:
    """The sum of the backward roots, without the AMP scale."""
    if len(roots) == 1 and roots[0][1] is None:
        return float(_number(roots[0][0]))
    values = [float(_number(root)) / (float(_number(scale)) if scale is not None else 1.0) for root, scale in roots]
    return sum(values) if values else math.nan


def _mean_loss(calls: list[LossCall]) -> tuple[float, int, int, int, int]:
    """(mean loss per valid target, loss, valid, ignored, batch size) of the loss function seen first in the step."""
    if not calls:
        return _NO_LOSS
    if len(calls) == 1 and isinstance(calls[0].valid, int) and isinstance(calls[0].ignored, int):
        one, targets = calls[0], calls[0].valid
        mean = float(_number(one.mean)) if targets else math.nan
        return mean, one.loss, targets, int(one.ignored), one.batch_size
    first = calls[0].loss
    mine = [call for call in calls if call.loss == first]
    valid = [int(_number(call.valid)) for call in mine]
    ignored = sum(int(_number(call.ignored)) for call in mine)
    for call in mine:
        if call.told is not None:
            call.told.note(ignored)
    total = sum(float(_number(call.mean)) * count for call, count in zip(mine, valid, strict=True) if count)
    batch_size = sum(call.batch_size for call in mine)
    return (total / sum(valid) if sum(valid) else math.nan), first, sum(valid), ignored, batch_size


def _columns(table: Table, rows: list[dict[str, Any]]) -> Columns:
    return {column.name: [row[column.name] for row in rows] for column in table.columns}


def _tensor_columns(steps: Sequence[StepRecord]) -> Columns:
    found = [(step.row, step.tensors) for step in steps if step.tensors is not None]
    if not found:
        return _columns(TENSORS, [])
    gradients = numpy.concatenate([measured.gradients for _, measured in found])
    counts = [len(measured.identifiers) for _, measured in found]
    columns: Columns = {name: gradients[:, index] for index, name in enumerate(COLUMNS)}
    for name in ("gradient_nan", "gradient_inf"):
        columns[name] = numpy.nan_to_num(columns[name]).astype(numpy.int64)
    for name in SAMPLED_COLUMNS:
        columns[name] = numpy.concatenate(
            [
                _array(measured.probed[name]) if name in measured.probed else numpy.full(count, numpy.nan)
                for (_, measured), count in zip(found, counts, strict=True)
            ]
        )
    columns["optimizer"] = numpy.repeat([row.optimizer for row, _ in found], counts)
    columns["step"] = numpy.repeat([row.step for row, _ in found], counts)
    columns["tensor"] = numpy.concatenate([measured.identifiers for _, measured in found])
    return columns
