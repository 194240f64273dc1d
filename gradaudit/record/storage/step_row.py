"""The row of table `steps` as it begins: what the optimizer and the thread say before the update."""

import math
from typing import Any

import torch

from gradaudit.record.observe import groups
from gradaudit.record.observe.between import Between
from gradaudit.record.observe.groups import OptimizerLike
from gradaudit.record.observers import Observers
from gradaudit.record.storage.steps import StepRecord


def begin(
    optimizer: OptimizerLike, between: Between, keys: dict[str, Any], *, due: bool, training: int, observers: Observers
) -> StepRecord:
    """A step's row; `keys` are the columns by which it is known, with its time. Each fact costs itself alone."""
    seen, cleared = between.take(keys["optimizer"], optimizer, first=keys["step"] == 0)
    logged = between.shared.book.logged() if seen.logged is not None else -1
    row = {
        **keys,
        **observers.call("settings of parameter groups", _settings, optimizer, default=_UNKNOWN),
        "gradient_norm": math.nan,
        "clip_threshold": math.nan,
        "clip_kind": 0,
        "amp_scale": math.nan,
        "skipped": False,
        "micro_steps": seen.backwards,
        "training": training,
        "stale": -1,
        "recorded": due,
        "weight_checksum": 0,
        "logged_loss": logged,
    }
    record = StepRecord(row, seen.roots, seen.calls, seen.logged, cleared=cleared)
    observers.call("AMP scales", _scaling, optimizer, record)
    observers.call("gradient clipping", _clipping, optimizer, between, record)
    return record


_UNKNOWN: dict[str, list[float]] = {"learning_rate": [], "weight_decay": [], "momentum": []}


def _settings(optimizer: OptimizerLike) -> dict[str, list[float]]:
    return {
        "learning_rate": [groups.number(group.get("lr")) for group in optimizer.param_groups],
        "weight_decay": [groups.number(group.get("weight_decay", 0.0)) for group in optimizer.param_groups],
        "momentum": [groups.momentum(group) for group in optimizer.param_groups],
    }


def _scaling(optimizer: OptimizerLike, record: StepRecord) -> None:
    scale, found_inf = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
    if isinstance(scale, torch.Tensor):
        record.amp_scale = scale.detach().clone()
    if isinstance(found_inf, torch.Tensor):
        record.found_inf = found_inf.detach().clone()


def _clipping(optimizer: OptimizerLike, between: Between, record: StepRecord) -> None:
    clipped = between.clips.take(optimizer)
    if clipped is not None:
        clip, whole = clipped
        record.row["clip_kind"], record.row["clip_threshold"] = clip.kind, clip.threshold
        record.clip_norm, record.clipped = clip.norm if whole else None, clip.clipped
