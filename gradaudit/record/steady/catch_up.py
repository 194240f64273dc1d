"""What follows from steady steps: their rows, and all that the hooks count."""

import threading
from typing import Any

from gradaudit.record.observe.frames import frames_of_wrappers
from gradaudit.record.observe.loss.calls import LossCall
from gradaudit.record.steady.hot import Made, Steady
from gradaudit.record.storage.step_record import OpenStep, StepRecord, StepRow
from gradaudit.record.storage.step_row import open_record


def drain(recording: Any) -> bool:
    """Make the records of the steps so far; whether it is time to hand over. Under the recording's lock."""
    steady: Steady = recording.steady
    due = False
    count = 0
    while steady.made:
        due |= _record(recording, steady, steady.made.popleft())
        count += 1
    if count:
        _backwards(recording, steady, count)
        steady.between.hooked += count
        recording.gathered.schedules.passed(count)
        recording.gathered.model_state.steps = recording.global_step
    return due


def leave(recording: Any) -> bool:
    """Put what was seen of the step that is being made where the hooks look for it; what `drain` returns."""
    steady: Steady = recording.steady
    due = drain(recording)
    if steady.at == steady.AWAY:
        return due
    if threading.get_ident() != steady.thread:
        steady.stopped = True  # at its next hook
        return due
    at, steady.at = steady.at, steady.AWAY
    between = steady.between
    if at < steady.CALLED:
        return due
    call = LossCall(steady.like.kind.facts.id, steady.mean, steady.targets, 0, steady.batch_size, steady.key)
    if at == steady.CALLED:
        between.pending.append(call)
        return due
    _backwards(recording, steady, 1)
    between.seen.backwards = 1
    between.seen.roots.append((steady.value, None))
    between.seen.calls.append(call)
    if steady.norm is not None and steady.clipping is not None:
        between.clips.again(steady.clipping, steady.norm)
    if at == steady.STEPPING:
        _open(recording, steady)
    return due


def _backwards(recording: Any, steady: Steady, count: int) -> None:
    """Count backwards that were made."""
    steady.between.backwards += count
    recording.by_hand.passed(steady.between, count)
    recording.gathered.batches.passed(count)
    book, kind = recording.gathered.book, steady.like.kind
    book.observed += count
    if kind.calls >= 0:
        kind.calls += count


def _open(recording: Any, steady: Steady) -> None:
    """The optimizer is in its step: what the hook before it would have left."""
    optimizer, between = steady.optimizer(), steady.between
    if optimizer is None:
        return
    # The hook that is called now belongs to a step inside that one, or that one is gone from the stack.
    wrappers = frames_of_wrappers()
    between.hooked += 1
    between.step = OpenStep(id(wrappers[-1]) if wrappers else 0, steady.optimizer)
    between.step.parameter_set = recording.table.unchecked_parameter_set(optimizer)
    between.step.record = open_record(recording, optimizer, between.step.parameter_set, between=between)
    recording.gathered.schedules.before_step(optimizer, recording.table, alone=True)


def _record(recording: Any, steady: Steady, made: Made) -> bool:
    number, shared = steady.number, recording.gathered
    step = recording.counts[number]
    row = StepRow(
        optimizer=number,
        step=step,
        global_step=recording.global_step,
        time=made.began - recording.began,
        seconds=made.began - recording.stepped,
        training=1,
        recorded=False,
    )
    row.micro_steps = 1
    row.learning_rate, row.weight_decay, row.momentum = made.settings[1:]
    call = LossCall(steady.like.kind.facts.id, made.mean, made.targets, 0, made.batch_size)
    record = StepRecord(row, [(made.objective, None)], [call])
    if made.norm is not None and steady.clipping is not None:
        row.clip_kind, row.clip_threshold = 1, steady.clipping.threshold
        record.clip_norm = made.norm if steady.clipping.whole else None
    shared.after_step, shared.time = recording.global_step, row.time
    recording.stepped = made.began
    recording.counts[number] = step + 1
    recording.global_step += 1
    recording.cadences[number].note(step, False, recording.meter.of_step(0.0), row.seconds)
    return bool(recording.waiting.add(record))
