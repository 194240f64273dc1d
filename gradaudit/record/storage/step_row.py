"""The row of table `steps` as it begins: what the optimizer and the thread say before the update."""

import math
import time
from typing import Any

import torch

from gradaudit.record.observe.between import StepObserver
from gradaudit.record.observe.clips import Clipping
from gradaudit.record.observe.graph import GRAPH
from gradaudit.record.observe.model_state import MODEL_STATE
from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.record.observe.param_groups import Settings, settings_of, unchanged
from gradaudit.record.observe.parameter_set import ParameterSet
from gradaudit.record.observers import AMP_SCALES, EVALUATION_LOSSES, GRADIENT_CLIPPING, PARAMETER_GROUPS, Observers
from gradaudit.record.storage.step_record import StepRecord, StepRow


def open_record(
    recording: Any, optimizer: OptimizerLike, parameter_set: ParameterSet, at: float | None = None,
    between: StepObserver | None = None,
) -> StepRecord:  # fmt: skip
    """The record of a step that is made now, or was `at` another time, with what its thread has shown."""
    number, between, gathered = parameter_set.optimizer, between or recording.between, recording.gathered
    step = recording.counts.get(number, 0)
    recording.find_rank()
    now = time.perf_counter() if at is None else at
    row = StepRow(
        optimizer=number,
        step=step,
        global_step=recording.global_step,
        time=now - recording.began,
        seconds=now - recording.stepped if recording.global_step else math.nan,
        training=recording.table.training(parameter_set.identities if len(gathered.training) > 1 else None),
        recorded=recording.due(number, step),
    )
    record = _begin(optimizer, between, row, recording.observers)
    if between.evaluating:
        recording.observers.call(EVALUATION_LOSSES, between.finish_evaluation)
    gathered.after_step, gathered.time = recording.global_step, now - recording.began
    recording.stepped = now
    recording.counts[number] = step + 1
    recording.global_step += 1
    if at is None:
        record.samples = recording.sample_next()
    record.operations = recording.close_look.take() if recording.close_look.wanted else None
    return record


def _begin(optimizer: OptimizerLike, between: StepObserver, row: StepRow, observers: Observers) -> StepRecord:
    """The record of a step; what the optimizer says of it goes into `row`. A fault in a fact costs that fact alone."""
    seen, cleared = between.take(row.optimizer, optimizer, first=row.step == 0)
    row.micro_steps = seen.backwards
    graph, state = between.shared.graph, between.shared.model_state
    if graph.moments:
        observers.call(GRAPH, graph.stepped, between, row.optimizer)
    observers.call(PARAMETER_GROUPS, _settings, optimizer, row, between.settings)
    logged = between.shared.book.logged() if seen.logged is not None else -1
    record = StepRecord(row, seen.roots, seen.calls, seen.logged, logged, cleared=cleared)
    state.steps = row.global_step + 1
    if state.wants:
        observers.call(MODEL_STATE, state.on_step, between.table, row.global_step)
    observers.call(AMP_SCALES, _scaling, optimizer, record)
    between.clipping = None
    observers.call(GRADIENT_CLIPPING, _clipping, optimizer, between, record)
    return record


def _settings(optimizer: OptimizerLike, row: StepRow, known: dict[int, Settings]) -> None:
    groups, settings = optimizer.param_groups, known.get(row.optimizer)
    same = settings is not None and len(settings.options) == len(groups)
    if settings is None or not same or not all(map(unchanged, groups, settings.options)):
        settings = known[row.optimizer] = settings_of(groups)
    # The lists of the step before, while nothing changes: what is kept of a step is little for Python's collector.
    row.learning_rate, row.weight_decay, row.momentum = settings.rates, settings.decays, settings.momenta


def _scaling(optimizer: OptimizerLike, record: StepRecord) -> None:
    scale, found_inf = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
    if isinstance(scale, torch.Tensor):
        record.amp_scale = scale.detach().clone()
    if isinstance(found_inf, torch.Tensor):
        record.found_inf = found_inf.detach().clone()


def _clipping(optimizer: OptimizerLike, between: StepObserver, record: StepRecord) -> None:
    alone = len(between.clips.calls) == 1
    clipped = between.clips.take(optimizer)
    if clipped is not None:
        clip, whole = clipped
        if alone and clip.kind == 1 and clip.norm is not None:
            between.clipping = Clipping(clip, len(clip.parameters), clip.threshold, whole)
        record.row.clip_kind, record.row.clip_threshold = clip.kind, clip.threshold
        record.clip_norm, record.clipped = clip.norm if whole else None, clip.clipped
