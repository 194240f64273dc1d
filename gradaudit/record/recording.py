"""The recording of one process: what each seam saw, put together at the optimizer's step."""

import math
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradaudit.record.between import Between
from gradaudit.record.cadence import Cadence
from gradaudit.record.files import Files, rank_and_world
from gradaudit.record.settings import Settings
from gradaudit.record.stats import ZERO_FRACTION, measure
from gradaudit.record.steps import Batch, StepRecord
from gradaudit.record.tensors import Plan, TensorTable

HAND_OVER_STEPS = 32  # with statistics
HAND_OVER_MOST = 128  # with or without: a row of losses is small, and handing it over costs more than it does
HAND_OVER_SECONDS = 1.0
ROWS_EVERY = 10  # recorded steps between two looks at embedding rows


@dataclass(eq=False)
class OpenStep:
    """A step between its two hooks. `frame` is the identity of the optimizer's wrapper on the stack."""

    frame: int
    optimizer: "weakref.ref[torch.optim.Optimizer]"
    closure: bool = False
    record: StepRecord | None = None
    plan: Plan | None = None
    measured: bool = False  # the gradients, and the weights before the step


class Recording:
    """Everything recorded by this process. Methods are called by the seams, through `session.guarded`."""

    def __init__(
        self,
        settings: Settings,
        models: Sequence[nn.Module] = (),
        optimizers: Sequence[torch.optim.Optimizer] | None = None,
    ) -> None:
        self.settings = settings
        self.only = None if optimizers is None else weakref.WeakSet(optimizers)
        self.table = TensorTable(models)
        self.between = Between(self.table)
        self.files: Files | None = None
        self.global_step = 0
        self._began = self._stepped = self._handed = time.perf_counter()
        self._cadences: dict[int, Cadence] = {}
        self._counts: dict[int, int] = {}
        self._open: OpenStep | None = None
        self._ready: list[StepRecord] = []
        self._measured = 0  # of those, with statistics
        self.spent = 0.0  # seconds in our methods, kept by session.guarded
        self._accounted = 0.0  # of those, what the cadence knows
        self._written = self._writing = 0.0  # CPU seconds of the writer's thread: in all, and for one step
        self._events: list[dict[str, Any]] = []
        self._rank = -1  # known when the process group exists: at the first step
        self.hooked = 0

    def on_scaler_step(self, optimizer: torch.optim.Optimizer, hooked_before: int) -> None:
        """GradScaler.step returned; no hook fired inside means that it skipped the step."""
        if self.hooked == hooked_before and self._mine(optimizer):
            plan = self.table.known_plan(optimizer)
            record = self._record(optimizer, plan)
            record.row["skipped"] = True
            self._finish(plan, record, time.perf_counter())

    def before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        """The optimizer is about to step; returns its arguments anew when a closure has to be watched."""
        if not self._mine(optimizer) or self._inside_a_step(optimizer):
            return None
        self.hooked += 1
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        self._open = OpenStep(id(_wrapper_frame()), weakref.ref(optimizer), closure=callable(closure))
        if not callable(closure):
            self._snapshot(optimizer, self._open)
            return None
        # The gradients do not exist yet: they are computed by the closure's first call.
        watched = self._watch(optimizer, closure)
        if "closure" in kwargs:
            return args, {**kwargs, "closure": watched}
        return (args[0], watched, *args[2:]), kwargs

    def _watch(self, optimizer: torch.optim.Optimizer, closure: Callable[[], Any]) -> Callable[[], Any]:
        from gradaudit.record import session

        def watched() -> Any:
            result = closure()
            session.guarded("after_closure", optimizer)
            return result

        return watched

    def after_closure(self, optimizer: torch.optim.Optimizer) -> None:
        """The closure returned for the first time: gradients exist."""
        if self._open is not None and self._open.record is None:
            self._snapshot(optimizer, self._open)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer has stepped: measure the update and close the row."""
        step, started = self._open, time.perf_counter()
        if step is None or step.optimizer() is not optimizer or step.frame != id(_wrapper_frame()):
            return
        self._open = None
        if step.closure:
            self.between.forget()
        if step.record is None or step.plan is None:
            return
        if step.measured:
            self._measure_update(step.plan, step.record)
        self._finish(step.plan, step.record, started)

    def _measure_update(self, plan: Plan, record: StepRecord) -> None:
        parameters = plan.parameters()
        if parameters is None:
            return
        record.probed = plan.probe.after(parameters)
        if plan.recorded % ROWS_EVERY == 0:
            for position, counter in plan.counters.items():
                record.snapshots.append((int(plan.identifiers[position]), counter.snapshot(parameters[position])))
        plan.recorded += 1

    def _mine(self, optimizer: torch.optim.Optimizer) -> bool:
        return self.only is None or optimizer in self.only

    def _inside_a_step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Whether this is a nested step: of a subclass calling its parent, or of a wrapped optimizer."""
        if self._open is None:
            return False
        # A step that raised never reached its post hook: its frame is gone from the stack.
        frame: Any = sys._getframe(1)
        while frame is not None:
            if id(frame) == self._open.frame:
                return id(_wrapper_frame()) != self._open.frame
            frame = frame.f_back
        self._open = None
        return False

    def _snapshot(self, optimizer: torch.optim.Optimizer, step: OpenStep) -> None:
        """Measure the gradients, and the weights before the step."""
        step.plan = self.table.known_plan(optimizer)
        step.record = record = self._record(optimizer, step.plan)
        if not record.row["recorded"]:
            return
        step.plan, parameters = self.table.plan_for(optimizer)
        gradients = [parameter.grad for parameter in parameters]
        record.identifiers, record.owned = step.plan.identifiers, step.plan.owned
        record.gradients, record.sharded = measure(gradients), self.table.sharded()
        for position, counter in step.plan.counters.items():
            counter.observe(gradients[position], record.gradients[position, ZERO_FRACTION])
        step.plan.probe.before(parameters, gradients)
        step.measured = True

    def _record(self, optimizer: torch.optim.Optimizer, plan: Plan) -> StepRecord:
        number = plan.optimizer
        step = self._counts.get(number, 0)
        if self._rank < 0:
            self._rank = rank_and_world()[0]
        seen, cleared = self.between.take(number, first=step == 0)
        now = time.perf_counter()
        row = {
            "optimizer": number,
            "step": step,
            "global_step": self.global_step,
            "time": now - self._began,
            "seconds": now - self._stepped if self.global_step else math.nan,
            "learning_rate": [_float(group.get("lr")) for group in optimizer.param_groups],
            "weight_decay": [_float(group.get("weight_decay", 0.0)) for group in optimizer.param_groups],
            "momentum": [_momentum(group) for group in optimizer.param_groups],
            "gradient_norm": math.nan,
            "clip_threshold": math.nan,
            "clip_kind": 0,
            "amp_scale": math.nan,
            "skipped": False,
            "micro_steps": len(seen.roots),
            "training": self.table.training(),
            "stale": -1,
            "recorded": self._cadence(number).due(step) and (self._rank == 0 or self.table.sharded()),
            "weight_checksum": 0,
            "logged_loss": self.between.book.logged() if seen.logged is not None else -1,
        }
        record = StepRecord(row, seen.roots, seen.calls, seen.logged, cleared=cleared)
        scale, found_inf = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
        if isinstance(scale, torch.Tensor):
            record.amp_scale = scale.detach().clone()
        if isinstance(found_inf, torch.Tensor):
            record.found_inf = found_inf.detach().clone()
        clipped = self.between.take_clip(optimizer)
        if clipped is not None:
            clip, whole = clipped
            row["clip_kind"], row["clip_threshold"] = clip.kind, clip.threshold
            record.clip_norm = clip.norm if whole else None
        self.between.close_pass()
        self.between.after_step, self.between.time = self.global_step, now - self._began
        self._stepped = now
        self._counts[number] = step + 1
        self.global_step += 1
        return record

    def _cadence(self, number: int) -> Cadence:
        if number not in self._cadences:
            self._cadences[number] = Cadence(self.settings.every, self.settings.budget)
        return self._cadences[number]

    def _finish(self, plan: Plan, record: StepRecord, started: float) -> None:
        now = time.perf_counter()
        cost = self.spent + now - started - self._accounted
        self._accounted += cost
        self._ready.append(record)
        cadence = self._cadence(plan.optimizer)
        measured = record.gradients is not None
        if cadence.note(record.row["step"], measured, cost + self._writing, record.row["seconds"]):
            every = 2**cadence.exponent
            self.event("cadence", f"tensor statistics every {every} steps from here, to stay within the budget")
        self._measured += measured
        if self.files is None:
            self.files = Files(self.settings, self)
            self.hand_over()
        elif (
            self._measured >= HAND_OVER_STEPS
            or len(self._ready) >= HAND_OVER_MOST
            or now - self._handed > HAND_OVER_SECONDS
        ):
            self.hand_over()

    def _clock(self) -> float:
        return time.perf_counter() - self._began

    def event(self, kind: str, message: str) -> None:
        """Note something about the recording itself."""
        row = {"time": self._clock(), "step": self.global_step, "kind": kind, "message": message}
        self._events = [*self._events[-255:], row]

    def hand_over(self, wait: bool = False) -> None:
        """Give what is ready to the writer; when it is behind, statistics are dropped and counted, never waited for."""
        self._handed, self._measured = time.perf_counter(), 0
        if self.files is None:
            return
        if self.files.writer.error is not None:
            raise self.files.writer.error
        written, self._written = self._written, self.files.writer.spent
        self._writing = (self._written - written) / max(1, len(self._ready))
        batch = Batch(self._ready, self.between.evaluated, self._events)
        device = next((step.gradients.device for step in self._ready if isinstance(step.gradients, torch.Tensor)), None)
        if device is not None and device.type == "cuda":
            batch.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            batch.event.record(torch.cuda.current_stream(device))
        if self.files.writer.put(batch, wait):
            self._ready, self.between.evaluated, self._events = [], [], []
            return
        dropped = sum(step.gradients is not None for step in self._ready)
        for step in self._ready:
            step.gradients, step.probed = None, {}
            step.row["recorded"], step.snapshots = False, []
        if dropped:
            self.event("dropped", f"the disk is behind: tensor statistics of {dropped} steps were dropped")
        self._ready = self._ready[-10_000:]

    def close(self, state: str) -> Path | None:
        """Write what is left and the final state; returns the run's folder, or None when no step was made."""
        self.between.close_pass()
        if self.files is None:
            return None
        self.hand_over(wait=True)
        self.files.close(state)
        return self.files.directory


def _wrapper_frame() -> Any:
    """The frame of the optimizer's own step wrapper that called the hook."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "wrapper" and frame.f_code.co_filename.endswith("optimizer.py"):
            return frame
        frame = frame.f_back
    return None


def _float(value: Any) -> float:
    if isinstance(value, torch.Tensor):
        # Capturable optimizers keep the learning rate on the device, and reading it would wait for it.
        return float(value) if value.device.type == "cpu" else math.nan
    return float(value) if isinstance(value, int | float) else math.nan


def _momentum(group: dict[str, Any]) -> float:
    betas = group.get("betas")
    return _float(betas[0] if isinstance(betas, tuple | list) and betas else group.get("momentum", 0.0))
