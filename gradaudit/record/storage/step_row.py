"""The row of table `steps` as it begins: what the optimizer and the thread say before the update."""

from typing import Any

import torch

from gradaudit.record.observe import param_groups
from gradaudit.record.observe.between import StepObserver
from gradaudit.record.observe.graph import GRAPH
from gradaudit.record.observe.model_state import MODEL_STATE
from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.record.observers import AMP_SCALES, GRADIENT_CLIPPING, PARAMETER_GROUPS, Observers
from gradaudit.record.storage.step_record import StepRecord, StepRow

_OPTIONS = ("lr", "weight_decay", "betas", "momentum")
# By optimizer: the options of each group as they were read last, and the rates, decays and momenta that they are.
Settings = dict[int, tuple[list[tuple[Any, ...]], list[float], list[float], list[float]]]


def begin(optimizer: OptimizerLike, between: StepObserver, row: StepRow, observers: Observers) -> StepRecord:
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
    if hasattr(optimizer, "grad_scale") or hasattr(optimizer, "found_inf"):
        observers.call(AMP_SCALES, _scaling, optimizer, record)
    if between.clips.calls:
        observers.call(GRADIENT_CLIPPING, _clipping, optimizer, between, record)
    return record


def _settings(optimizer: OptimizerLike, row: StepRow, settings: Settings) -> None:
    known = settings.get(row.optimizer)
    groups = optimizer.param_groups
    if known is None or len(known[0]) != len(groups) or not all(map(_unchanged, groups, known[0])):
        known = settings[row.optimizer] = (
            [tuple(map(group.get, _OPTIONS)) for group in groups],
            [param_groups.number(group.get("lr")) for group in groups],
            [param_groups.number(group.get("weight_decay", 0.0)) for group in groups],
            [param_groups.momentum(group) for group in groups],
        )
    # The lists of the step before, while nothing changes: what is kept of a step is little for Python's collector.
    _, row.learning_rate, row.weight_decay, row.momentum = known


def _unchanged(group: dict[str, Any], known: tuple[Any, ...]) -> bool:
    """Whether the options of a group are those `known`; what can be changed in place is read each time."""
    rate, decay, betas, momentum = known
    fixed = type(rate) is float and type(betas) is not list
    same = group.get("lr") is rate and group.get("weight_decay") is decay
    return fixed and same and group.get("betas") is betas and group.get("momentum") is momentum


def _scaling(optimizer: OptimizerLike, record: StepRecord) -> None:
    scale, found_inf = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
    if isinstance(scale, torch.Tensor):
        record.amp_scale = scale.detach().clone()
    if isinstance(found_inf, torch.Tensor):
        record.found_inf = found_inf.detach().clone()


def _clipping(optimizer: OptimizerLike, between: StepObserver, record: StepRecord) -> None:
    clipped = between.clips.take(optimizer)
    if clipped is not None:
        clip, whole = clipped
        record.row.clip_kind, record.row.clip_threshold = clip.kind, clip.threshold
        record.clip_norm, record.clipped = clip.norm if whole else None, clip.clipped
