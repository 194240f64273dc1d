"""Modes and buffers of modules, what is loaded into them, and modules that are copies of trained ones."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from gradaudit.record.observe.activations import compiled_already
from gradaudit.record.observe.model_state import looks
from gradaudit.record.observe.model_state.active import Active
from gradaudit.record.observe.model_state.copies import AGAIN, Copies
from gradaudit.record.observe.model_state.flags import flags
from gradaudit.record.observe.model_state.loads import Loads
from gradaudit.record.observe.model_state.norms import Norms
from gradaudit.record.observe.model_state.usage import Watch, Watched
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.schema import ModeFacts, ModelStateFacts

MODEL_STATE = "modes, buffers and copies of modules"  # the observer
_WATCHED_FROM = 2  # the step, for a first time


class ModelState:
    """What is known so far. Used under the recording's lock."""

    def __init__(self) -> None:
        self.watch: Watch | None = None  # tells the calls of modules
        self.active, self.norms, self.copies, self._watched = Active(), Norms(), Copies(), Watched()
        self.loads = Loads()
        self._modes: list[ModeFacts] = []
        self._next = 0  # the step of the next look
        self.steps = 0  # taken so far
        self._evaluated = False

    @property
    def wants(self) -> bool:
        """Whether anything is looked at before the step that is about to be made."""
        return self.steps > self._next or self._watched.going or self.loads.fresh

    def due_before(self, steps: int) -> bool:
        """Whether something is looked at before so many steps of all are made."""
        return steps > self._next or self._watched.going

    def on_step(self, table: TensorTable, step: int) -> None:
        """Step number `step` of all is about to be made."""
        self.steps = step + 1
        self.loads.on_step(step)
        if self._watched.going:
            self._watched.step()
            if _compiled(table):
                self._watched.end()
        if step >= self._next:
            self._look(table, step)

    def _look(self, table: TensorTable, step: int) -> None:
        if not self._modes and table.living_roots():
            found = flags(table, "step", step)
            self._modes += [found] if found is not None else []
            self.norms.begin(table, step)
        else:
            self.norms.look(step)
        if step in (0, AGAIN):
            self.copies.search(table, step)
        self.copies.look(table, step)
        self.loads.look(table)
        if step in (_WATCHED_FROM, AGAIN) and self.watch is not None and not _compiled(table):
            self._watched.begin(self.copies.wanted(), self.watch)
        self._next = looks.after(step)

    def on_active(self, table: TensorTable, function: str, probability: Any, said: bool) -> None:
        """A function that acts in training only acts without a gradient."""
        self.active.note(table, function, probability, said)

    def on_copy_call(self, module: nn.Module, arguments: Iterable[Any]) -> None:
        """A copy, or what it is a copy of, is about to be called."""
        self._watched.on_call(module, arguments)

    def on_evaluation(self, table: TensorTable, training: int, after_step: int) -> None:
        """A loss was computed without a gradient, in this mode of the model."""
        self.active.evaluated(training, after_step)
        if training != 0:
            return
        if not self._evaluated and self._modes:
            self._evaluated = True
            found = flags(table, "evaluation", after_step)
            self._modes += [found] if found is not None else []
        self.norms.evaluated(self.steps)

    def on_backward(self) -> None:
        """A backward is about to run: no evaluation goes on."""
        self.active.rest(self.steps - 1)

    def end(self, table: TensorTable) -> None:
        """The recording ends."""
        self._watched.end()
        if self.steps:
            self.active.rest(self.steps - 1)
            self.norms.look(self.steps)
            self.copies.look(table, self.steps, last=True)
            self.loads.look(table)

    def facts(self) -> ModelStateFacts:
        """What goes into run.json."""
        return ModelStateFacts(
            looked=bool(self.steps),
            evaluations=self.active.evaluations,
            active=self.active.facts(),
            modes=list(self._modes),
            norms=self.norms.facts(),
            copies=self.copies.facts(),
            copies_unknown=self.copies.unknown,
            loaded=self.loads.calls,
            loads=self.loads.facts(),
        )


def _compiled(table: TensorTable) -> bool:
    """Whether torch.compile is at work: it warns of a hook on all modules, and may make its graphs anew."""
    return any(map(compiled_already, table.living_roots()))
