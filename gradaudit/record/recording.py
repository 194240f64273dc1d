"""The recording of one process: what each hook saw, put together at the optimizer's step."""

import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gradaudit.record.by_hand.hands import BY_HAND, Hands
from gradaudit.record.cadence import Cadence, Meter, in_last_tenth
from gradaudit.record.measure import checksums
from gradaudit.record.measure.samples import Sample
from gradaudit.record.measuring import measure, measure_update
from gradaudit.record.observe.activations import EVERY, Activations
from gradaudit.record.observe.between import StepObserver
from gradaudit.record.observe.calls import CALLS, Calls
from gradaudit.record.observe.close_look import CloseLook
from gradaudit.record.observe.frames import inside_a_step, wrapper_frame
from gradaudit.record.observe.gathered import Gathered
from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.record.observe.parameter_set import ParameterSet
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.record.observe.threads import PerThread
from gradaudit.record.observers import (
    ACTIVATIONS,
    EVALUATION_LOSSES,
    STEADY_STEPS,
    WEIGHT_CHECKSUMS,
    NotWrittenError,
    Observers,
)
from gradaudit.record.settings import Settings
from gradaudit.record.steady import Steady, begin, drain, leave
from gradaudit.record.storage.files import Files, rank_and_world
from gradaudit.record.storage.step_record import OpenStep, StepRecord
from gradaudit.record.storage.step_row import open_record
from gradaudit.record.storage.steps import WriteBatch
from gradaudit.record.storage.waiting import Waiting
from gradaudit.schema import DisabledFacts

if TYPE_CHECKING:
    from gradaudit.record.module_hooks import ModuleHooks

_NONE: tuple[tuple[int, Sample], ...] = ()


class Recording:
    """Everything recorded by this process. Its methods are called by `hooks`, through `session.guarded`.

    That holds `lock`, so that one thread is inside at a time; what belongs to one thread is in its own `StepObserver`.
    """

    def __init__(
        self,
        settings: Settings,
        models: Sequence[nn.Module] = (),
        optimizers: Sequence[torch.optim.Optimizer] | None = None,
        *,
        warn: Callable[[str], None],
        module_hooks: "ModuleHooks",
    ) -> None:
        self.settings = settings
        self.only = None if optimizers is None else weakref.WeakSet(optimizers)
        self.observers = Observers(lambda: self.global_step, self._note_disabled)
        self.table = TensorTable(self.observers, models)
        self.gathered = Gathered(self.table, self.observers, warn, data=settings.data)
        self._threads: PerThread[StepObserver] = PerThread(lambda: StepObserver(self.gathered, self._threads))
        self._mine = self._threads.mine
        self.steady = Steady(self)
        self.by_hand = Hands(self)
        self.activations = Activations(self.table, self.event, (module_hooks.input, module_hooks.output), settings)
        self.close_look = CloseLook(settings, self.table, self.observers, self.event, lambda: self.global_step)
        self.calls = Calls(self.table, self.observers, module_hooks.watch_calls)
        self.gathered.model_state.watch = module_hooks.watch_inputs
        self.files: Files | None = None
        self.global_step = 0
        self.began = self.stepped = time.perf_counter()
        self.cadences = defaultdict[int, Cadence](lambda: Cadence(settings.every, settings.budget))
        self.counts: dict[int, int] = {}
        self.meter = Meter()  # what session.guarded measures
        self.waiting = Waiting(
            self.gathered, self._threads, self.meter, self.event, lambda: self.observers.call(STEADY_STEPS, drain, self)
        )
        self.lock = self.waiting.lock
        self._rank = self.world = -1  # known when the process group exists: at the first step
        self._said: set[str] = set()
        self._full = False  # no room for further optimizers

    @property
    def between(self) -> StepObserver:
        """What this thread has shown since its last step."""
        return self._mine()

    def _note_disabled(self, fault: DisabledFacts) -> None:
        self.event("disabled", f"{fault.observer}: {fault.reason}")
        self.gathered.warn(f"gradaudit: {fault.observer} are no longer recorded ({fault.reason}); all else is")

    def on_scaler_step(self, optimizer: OptimizerLike, hooked_before: int) -> None:
        """GradScaler.step returned; no hook fired inside means that it skipped the step."""
        if self.between.hooked == hooked_before and self.takes(optimizer):
            parameter_set = self.table.unchecked_parameter_set(optimizer)
            record = open_record(self, optimizer, parameter_set)
            record.row.skipped, record.row.recorded = True, False
            self.finish(parameter_set, record, time.perf_counter())

    def on_value_clip(self, parameters: Sequence[torch.Tensor], threshold: Any) -> None:
        """clip_grad_value_ is about to run; which optimizer steps next is not known yet."""
        due = [self.cadences[number].due(self.counts.get(number, 0)) for number in self.table.parameter_sets]
        self.between.clips.on_value_clip(parameters, threshold, any(due) or not due, self.table.sharded())

    def before_step(self, optimizer: OptimizerLike, closure: Any) -> bool:
        """The optimizer is about to step; whether its closure has to be watched, which computes the gradients."""
        between = self.between
        if not self.takes(optimizer) or inside_a_step(between):
            return False
        between.hooked += 1
        self.observers.call(BY_HAND, self.by_hand.on_step, optimizer)
        between.step = OpenStep(id(wrapper_frame()), weakref.ref(optimizer), closure=callable(closure))
        if not callable(closure):
            self._snapshot(optimizer, between.step, between)
        return callable(closure)

    def without_closure(self) -> None:
        """The closure is called without us: the step is counted, and nothing else is known of it."""
        step = self.between.step
        if step is not None:
            step.unwatched = True

    def after_closure(self, optimizer: OptimizerLike) -> None:
        """The closure returned for the first time: gradients exist."""
        between = self.between
        step = between.step
        if step is not None and step.record is None:
            self._snapshot(optimizer, step, between)

    def after_step(self, optimizer: OptimizerLike) -> None:
        """The optimizer has stepped: measure the update and close the row."""
        between = self.between
        step, started = between.step, time.perf_counter()
        if step is None or step.optimizer() is not optimizer or step.frame != id(wrapper_frame()):
            return
        between.step = None
        if step.closure:
            between.forget()
        if step.unwatched:
            # Its losses are those of every call of the closure.
            between.skip()
            step.parameter_set = self.table.unchecked_parameter_set(optimizer)
            step.record = open_record(self, optimizer, step.parameter_set)
            step.record.row.recorded = False
        if step.record is not None and step.parameter_set is not None:
            if step.record.tensors is not None:
                measure_update(self, step.parameter_set, step.record.tensors)
            self.finish(step.parameter_set, step.record, started)
            if between.plain:
                self.observers.call(STEADY_STEPS, begin, self, optimizer, step)

    def takes(self, optimizer: OptimizerLike) -> bool:
        """Whether the steps of this optimizer are recorded."""
        if self.only is not None and optimizer not in self.only:
            return False
        if self.table.takes(optimizer):
            return True
        if not self._full:
            self._full = True
            self.event("disabled", "too many optimizers and tensors: steps of further optimizers are not recorded")
        return False

    def _snapshot(self, optimizer: OptimizerLike, step: OpenStep, between: StepObserver) -> None:
        """Measure the gradients, and the weights before the step."""
        call = self.observers.call
        step.parameter_set = self.table.unchecked_parameter_set(optimizer)
        step.record = record = open_record(self, optimizer, step.parameter_set, between=between)
        if self.world > 1 and checksums.due(record.row.step, self.world) and not self.table.sharded():
            record.weights = call(WEIGHT_CHECKSUMS, checksums.checksum, step.parameter_set.parameters() or [])
        if not record.row.recorded:
            return
        measured = measure(self, optimizer, record.row.step)
        if measured is None:
            record.row.recorded = False
            return
        step.parameter_set, record.tensors = measured

    def sample_next(self, ahead: int = 0) -> Sequence[tuple[int, Sample]]:
        """Decide what is sampled of the coming step, or of the one `ahead`; the samples since the last one."""
        steps = [count + ahead for each, count in self.counts.items() if self.due(each, count + ahead)]
        self.gathered.sample_next(bool(steps) or not self.counts)
        if not self.activations.enabled:
            return _NONE
        on_grid = bool(steps) and (self.global_step + ahead) % EVERY == 0
        due = on_grid or self.close_look.due(self.global_step + ahead)
        due = due or any(in_last_tenth(step, self.settings.every) for step in steps)
        call = self.observers.call
        found: list[tuple[int, Sample]] = call(ACTIVATIONS, self.activations.take, due, on_grid, default=[])
        return found

    def coming(self, optimizer: OptimizerLike) -> tuple[int, bool]:
        """The number of the optimizer's coming step, and whether its statistics are due."""
        self.find_rank()
        number = self.table.unchecked_parameter_set(optimizer).optimizer
        step = self.counts.get(number, 0)
        return step, self.due(number, step)

    def find_rank(self) -> None:
        """Ask for the process group, which exists by the first step."""
        if self._rank < 0:
            self._rank, self.world = rank_and_world()

    def due(self, number: int, step: int) -> bool:
        """Whether statistics are recorded at this step of an optimizer."""
        due = self.cadences[number].due(step) or (self.close_look.wanted and self.close_look.due(self.global_step))
        return due and (self._rank == 0 or self.table.sharded())

    def finish(self, parameter_set: ParameterSet, record: StepRecord, started: float) -> None:
        """The step is complete: its record waits for the writer."""
        now = time.perf_counter()
        cadence = self.cadences[parameter_set.optimizer]
        measured, row = record.tensors is not None, record.row
        if cadence.note(row.step, measured, self.meter.of_step(now - started), row.seconds):
            self.event("cadence", f"tensor statistics every {2**cadence.exponent} steps, to stay within the budget")
        if self.calls.watching:
            self.observers.call(CALLS, self.calls.stepped)
        due = self.waiting.add(record)
        if self.files is None:
            self.files, due = Files(self.settings, self.gathered, self.calls, self.overdue), True
        if due:
            self.flush()

    def event(self, kind: str, message: str, once: bool = False) -> None:
        """Note something about the recording itself; `once`, however often it happens."""
        if once and kind in self._said:
            return
        self._said.add(kind)
        row = {"time": time.perf_counter() - self.began, "step": self.global_step, "kind": kind, "message": message}
        self.waiting.note(row)

    def flush(self, wait: bool = False) -> None:
        """Give what is ready to the writer; when it is behind, statistics are dropped and counted, never waited for."""
        if self.files is None:
            return
        if self.files.writer.error is not None:
            raise NotWrittenError from self.files.writer.error
        self.waiting.flush(self.files.writer, wait)

    def catch_up(self, beside: bool) -> None:
        """A hook is about to look at what steady steps left: have them counted. Under the lock.

        One that is called `beside` the steps does not end them.
        """
        if self.steady.at >= 0 or self.steady.made:
            only_made = beside and self.steady.between_steps()
            if self.observers.call(STEADY_STEPS, drain if only_made else leave, self):
                self.flush()

    def overdue(self) -> WriteBatch | None:
        """What has waited too long for a step to hand it over; called by the writer's thread."""
        return self.waiting.overdue(self.files.writer) if self.files is not None else None

    def hooked_steps(self) -> int:
        """How many steps of this thread the hooks have seen."""
        return self.between.hooked

    def detach(self, calls: bool = True) -> None:
        """Take everything of ours off the script's modules and threads; what watches `calls` only if asked."""
        self.activations.detach()
        self.close_look.detach()
        if calls:
            self.calls.detach()

    def close(self, state: str, *, reachable: bool = True) -> Path | None:
        """Write what is left and the final state; returns the run's folder, or None when no step was made.

        Not `reachable` is what a thread keeps that does not leave the recording: only what was handed over is written.
        """
        if reachable:
            with self.lock:
                self.observers.call(STEADY_STEPS, leave, self)
                self.observers.call(BY_HAND, self.by_hand.end)
                self.observers.call(CALLS, self.calls.end)
                for between in self._threads.all():
                    self.observers.call(EVALUATION_LOSSES, between.finish_evaluation)
        if self.files is None:
            return None
        if reachable:
            self.flush(wait=True)
        self.files.close(state)
        return self.files.directory
