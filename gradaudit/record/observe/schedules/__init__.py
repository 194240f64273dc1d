"""Schedulers, gradient scaling, optimizers made anew, and memory."""

from collections.abc import Sequence
from typing import Any

import torch

from gradaudit.record.observe.schedules.lives import Lives
from gradaudit.record.observe.schedules.memory import Memory
from gradaudit.record.observe.schedules.replaced import Replaced
from gradaudit.record.observe.schedules.scaling import Scaling
from gradaudit.record.observe.schedules.schedulers import Schedulers
from gradaudit.record.observe.schedules.unregistered import Unregistered
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.schema import ScheduleFacts

SCHEDULES = "schedules"  # the observer
# Steps of an optimizer at which its parameters are looked for: some is replaced in the middle of a training.
_LOOKS = frozenset(part << power for power in range(40) for part in (2, 3)) | {1}
_LIST_LOOKS = frozenset({1, 4, 16, 256})  # of all optimizers, at which modules in plain lists are looked for
_LIVES = 16  # of optimizers over the same parameters, each of which is looked at; a new one may be made at each step


class Schedules:
    """What is known so far. Used under the recording's lock."""

    def __init__(self) -> None:
        self.schedulers, self.scaling, self.lives = Schedulers(), Scaling(), Lives()
        self.replaced, self.memory = Replaced(), Memory()
        self.unregistered = Unregistered()
        self._table: TensorTable | None = None

    def before_step(self, optimizer: Any, table: TensorTable, alone: bool) -> None:
        """A step begins with its gradients in place; `alone` where one thread trains."""
        self._table = table
        lives = self.lives
        one = lives.before_step(optimizer, table.numbers)
        self.memory.before_step(lives.total)
        # Another thread may be writing gradients at this moment, and one that holds parts of tensors has others in
        # its modules than in its optimizers.
        early = one.steps in _LOOKS and one.of.made <= _LIVES
        if (early or one.of.steps in _LOOKS) and one.number >= 0 and alone and not table.sharded():
            self.replaced.look(optimizer, one.number, self.lives.total - 1)
        if self.lives.total in _LIST_LOOKS and alone and not table.sharded():
            self.unregistered.look()

    def due_in(self, ahead: int) -> bool:
        """Whether something is looked at, so many steps ahead of the same optimizer."""
        one, total = self.lives.latest(), self.lives.total + ahead
        if one is None or total in _LIST_LOOKS or self.memory.due_at(total):
            return True
        return one.steps + ahead in _LOOKS or one.of.steps + ahead in _LOOKS

    def passed(self, count: int) -> None:
        """So many steps of the same optimizer were made."""
        self.lives.passed(count)
        self.memory.passed(self.lives.total)

    def after_step(self, optimizer: Any) -> None:
        """The step is made."""
        self.lives.after_step(optimizer)

    def on_scheduler_step(self, scheduler: Any, nested: bool, given: Any) -> None:
        """A scheduler's `step` is called, `given` an epoch or a metric."""
        own = self.lives.steps_of(scheduler.optimizer) if hasattr(scheduler, "optimizer") else 0
        self.schedulers.on_step(scheduler, nested, own, self.lives.total)
        self.schedulers.on_metric(scheduler, nested, own, given)

    def on_clip(self, parameters: Sequence[torch.Tensor]) -> None:
        """Gradients are being clipped."""
        self.scaling.on_clip(parameters)

    def facts(self) -> ScheduleFacts:
        """What goes into run.json."""
        numbers = self._table.numbers if self._table is not None else {}
        memory = self.memory
        return ScheduleFacts(
            recorded=True,
            schedulers=self.schedulers.facts(self.lives.steps_of, numbers, self.lives.stepping()),
            lives=self.lives.facts(),
            replaced=list(self.replaced.found.values()),
            unregistered=list(self.unregistered.found),
            scaling=self.scaling.facts(),
            memory=list(memory.samples),
            graphs=memory.graphs.kept,
            evaluation_graphs=memory.evaluations.kept,
        )
