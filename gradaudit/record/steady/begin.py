"""Whether the next steps can be steady, and how many of them: until something is due that a hook has to look at."""

import threading
import weakref
from typing import Any

import torch

from gradaudit.record.measure import checksums
from gradaudit.record.observe.optimizers import several_known
from gradaudit.record.steady.hot import Steady
from gradaudit.record.storage.step_record import OpenStep, StepRecord


def begin(recording: Any, optimizer: Any, step: OpenStep) -> None:
    """A step was made and recorded; let the next ones be steady, where it was a plain one."""
    steady: Steady = recording.steady
    between, record = recording.between, step.record
    if record is None or step.closure or step.unwatched or not _is_plain(recording, between, optimizer, record):
        return
    like = recording.gathered.book.repeated.get(recording.gathered.book.latest)
    if like is None or like.left <= 0 or len(record.calls) != 1 or record.calls[0].loss != like.kind.facts.id:
        return
    left = _steps_left(recording, between, optimizer, record, like.left)
    if left <= 0:
        return
    number = record.row.optimizer
    steady.name, steady.like = recording.gathered.book.latest, like
    steady.optimizer, steady.number = weakref.ref(optimizer), number
    steady.thread, steady.between = threading.get_ident(), between
    steady.way, steady.settings = recording.table.way, between.settings[number]
    steady.shape = tuple(len(group["params"]) for group in optimizer.param_groups)
    steady.clipping = between.clipping
    steady.turned = recording.gathered.batches.turned
    steady.left, steady.stopped = left, False
    steady.at = steady.READY


def _is_plain(recording: Any, between: Any, optimizer: Any, record: StepRecord) -> bool:
    """Whether nothing about the last step, or what is asked of the recording, needs the hooks at the next ones."""
    shared = recording.gathered
    return (
        between.plain
        and not shared.due
        and record.tensors is None
        and not record.row.skipped
        and record.logged is None
        and isinstance(optimizer, torch.optim.Optimizer)
        and not (hasattr(optimizer, "grad_scale") or hasattr(optimizer, "found_inf"))
        and (record.row.clip_kind == 0 or between.clipping is not None)
        and not recording.observers.disabled
        and not recording.activations.enabled
        and not recording.close_look.wanted
        and not recording.calls.watching
        and not recording.by_hand.watched
        and not several_known()
        and not between.seen
        and not between.pending
        and not between.evaluating
        and not between.clips.calls
        and not shared.cleared
        and not shared.model_state.active.pending
        and len(shared.training) == 1
        and bool(recording.table.way)
        and recording.files is not None
    )


def _steps_left(recording: Any, between: Any, optimizer: Any, record: StepRecord, most: int) -> int:
    """How many of the coming steps have nothing due, at most `most`."""
    shared = recording.gathered
    number, step = record.row.optimizer, record.row.step
    cadence, world = recording.cadences[number], recording.world
    most = min(most, shared.batches.left())
    for ahead in range(1, most + 1):
        due = (
            cadence.due(step + ahead)
            or (world > 1 and checksums.due(step + ahead, world))
            or shared.graph.due_at(shared.after_step + ahead, record.calls[0].batch_size)
            or shared.schedules.due_in(ahead)
            or shared.model_state.due_before(recording.global_step + ahead)
            or recording.by_hand.looks_at(between, ahead)
        )
        if due:
            return ahead - 1
    return most
