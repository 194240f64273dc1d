"""What a thread shows between two optimizer steps: losses, backward roots, clipping, AMP scales, evaluation passes."""

import threading
from collections.abc import Sequence, Set
from typing import Any

import torch

from gradaudit.record.hook_observers import Bind
from gradaudit.record.internals import private
from gradaudit.record.measure.host_loss import value_of
from gradaudit.record.observe.batches import BATCHES
from gradaudit.record.observe.cleared import (
    CLEARED,
    Gradients,
    counting,
    look_for_cleared,
    look_for_stale,
    note_gradients,
)
from gradaudit.record.observe.clips import Clipping, Clips
from gradaudit.record.observe.evaluating import evaluate, suppose
from gradaudit.record.observe.evaluation.evaluations import Evaluations
from gradaudit.record.observe.evaluation.parts import Part
from gradaudit.record.observe.evaluation.splits import note_loader, note_training
from gradaudit.record.observe.gathered import Gathered
from gradaudit.record.observe.graph import GRAPH
from gradaudit.record.observe.loaders import batches_of
from gradaudit.record.observe.loss import losses
from gradaudit.record.observe.loss.calls import LossCall
from gradaudit.record.observe.loss.compiled import Reading
from gradaudit.record.observe.loss.seen import StepObservation, behind, leading_to, written_out
from gradaudit.record.observe.loss.undecided import Undecided
from gradaudit.record.observe.model_state import MODEL_STATE
from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.record.observe.outputs import OUTPUTS
from gradaudit.record.observe.plain import is_plain, plain_backward
from gradaudit.record.observe.threads import PerThread, leaves
from gradaudit.record.observe.training_thread import TrainingThread
from gradaudit.record.observe.unstepped import UNSTEPPED, unstepped
from gradaudit.record.observers import (
    EVALUATION_LOSSES,
    HAND_WRITTEN_LOSSES,
    LOSS_INPUTS,
    LOSSES,
    OBJECTIVES,
    STALE_GRADIENTS,
)

_PENDING = 64  # training losses kept without a backward; more are somebody's metric
_MOST_PASSES = 10_000  # evaluation passes that wait for a first step


class StepObserver(TrainingThread):
    """Gathers what patches and hooks see in one thread until an optimizer steps there and takes it."""

    def __init__(self, shared: Gathered, threads: PerThread["StepObserver"]) -> None:
        super().__init__(shared, threads)
        self.evaluations, self.undecided = Evaluations(), Undecided()
        self.modes: dict[object, int] = {}  # of what is evaluated in this pass, by the function that does
        self.hooked = 0  # steps that the hooks saw
        self.settings: dict[int, Any] = {}  # of each optimizer's groups at the last step
        self.seen, self._taken = StepObservation(), StepObservation()
        self.gradients = Gradients()
        self.pending: list[LossCall] = []
        self.scale: torch.Tensor | None = None
        self.clips = Clips()
        self.plain = False  # the last backward was
        self.clipping: Clipping | None = None  # of the last step, by the norm

    def on_call(self, name: str, result: torch.Tensor, bind: Bind, args: tuple[Any, ...], kwargs: Any) -> None:
        """A loss function was called with `args` and `kwargs`, which `bind` names, and returned `result`."""
        shared = self.shared
        step = shared.after_step + 1
        if not (shared.due or shared.worker or shared.batches.watching or shared.graph.due_at(step)):
            seen = shared.book.again(name, result, args, kwargs)
            if seen is not None:
                self._train(result, seen)
                return
        found = self.on_loss(name, result, bind(args, kwargs))
        if found is not None and result.requires_grad:
            self.observers.call(LOSSES, shared.book.note, name, found, args, kwargs)

    def on_loss(
        self, name: str, result: torch.Tensor, call: dict[str, Any], reading: Reading | None = None
    ) -> LossCall | None:
        """A loss function returned `result`: for training if a backward follows, else for evaluation.

        `reading` says what is known of a loss inside a compiled graph. Returns what was seen.
        """
        shared = self.shared
        if not losses.has_value(result):
            return None
        if shared.worker is None:
            shared.worker = torch.utils.data.get_worker_info() is not None
        if shared.worker:
            return None
        if shared.batches.watching:
            self.observers.call(BATCHES, shared.batches.on_loss, name, result, call, self.table)
        seen = shared.book.observe(name, result, call, self.observers, reading)
        known = reading is None or (reading.input_known and reading.target_known)
        self.observers.call(GRAPH, shared.graph.on_loss, self, seen, name, result)
        self.observers.call(OUTPUTS, shared.outputs.look, seen.loss, name, call, result.requires_grad, known)
        if not result.requires_grad:
            self.observers.call(EVALUATION_LOSSES, evaluate, self, seen)
        elif self._train(result, seen) and shared.samples_left > 0 and (reading is None or reading.input_known):
            shared.samples_left -= 1
            seen.sample = self.observers.call(LOSS_INPUTS, shared.book.sample, seen.loss, call)
        return seen

    def _train(self, result: torch.Tensor, seen: LossCall) -> bool:
        """Keep a loss with a gradient until a backward says what it is for; whether it seems to be for training."""
        if self.undecided.expects and self.observers.call(EVALUATION_LOSSES, suppose, self, result, seen):
            return False
        self.pending.append(seen)
        del self.pending[:-_PENDING]
        return True

    def on_backward(self, roots: Sequence[Any], gradients: Any, accumulates: bool = False) -> "StepObserver":
        """A backward is about to run from `roots`; whoever runs it says afterwards that it is over.

        Whether it `accumulates` gradients in the parameters, as `torch.autograd.backward` does.
        """
        self.plain = accumulates and is_plain(self, roots, gradients)
        if self.plain:
            plain_backward(self, roots[0])
            return self
        call = self.observers.call
        self.backwards += 1
        self.shared.training.add(threading.get_ident())
        # Where several threads train, each says what it writes to; one backward may reach other tensors than the last.
        # The first one says so where others are running that may be about to train.
        first = self.backwards == 1 and threading.active_count() > 1
        self.leaves = leaves(roots) if first or len(self.shared.training) > 1 else None
        call(EVALUATION_LOSSES, self._decide, roots, self.leaves)
        if self.evaluating:
            call(EVALUATION_LOSSES, self.finish_evaluation)
        if self.shared.after_step < 0:
            call(EVALUATION_LOSSES, note_training)
        if self.shared.model_state.active.pending:
            call(MODEL_STATE, self.shared.model_state.on_backward)
        call(CLEARED, look_for_cleared, self, accumulates)
        call(OBJECTIVES, self.add_roots, roots, gradients)
        call(GRAPH, self.shared.graph.look, self, roots, self.pending[-1].batch_size if self.pending else 0)
        call(BATCHES, self.shared.batches.on_backward)
        found = call(LOSSES, behind, self._losses(), roots, default=[])
        self.seen.calls += found or call(HAND_WRITTEN_LOSSES, written_out, self, roots, gradients, default=[])
        self.seen.gather()
        self.pending, self.scale = [], None
        if self.shared.after_step < 0 and self.seen.backwards >= UNSTEPPED:
            self.shared.warn(unstepped(UNSTEPPED))
        if self.shared.due:
            call(STALE_GRADIENTS, look_for_stale, self)
        self.running = True
        return self

    def after_backward(self) -> None:
        """A backward has run whose gradients are looked at."""
        self.observers.call(CLEARED, note_gradients, self)

    def _losses(self) -> list[LossCall]:
        """The losses that may be behind a backward of this thread."""
        if self.pending:
            return self.pending
        # Replicas of a model compute their losses in threads of their own, which have no backward.
        for other in self._threads.others():
            if not other.backwards:
                self.pending += other.pending
                other.pending = []
        return self.pending

    def add_roots(self, roots: Sequence[Any], gradients: Any) -> None:
        """Keep the values of the roots of a backward, with the AMP scale that they carry."""
        values = list(gradients) if isinstance(gradients, tuple | list) else [gradients]
        for index, root in enumerate(roots):
            if not isinstance(root, torch.Tensor) or not losses.has_value(root):
                continue
            value = root.detach()
            self.seen.backwards += 1
            known = value_of(value) if gradients is None else None
            if known is not None:
                self.seen.roots.append((known, self.scale))
                continue
            weight = values[index] if index < len(values) else None
            # Scripts change the loss in place after the backward: keep a copy.
            value = (value * weight.detach()).sum() if isinstance(weight, torch.Tensor) else value.sum().clone()
            self.seen.roots.append((value, self.scale))

    def on_scale(self, scaler: Any) -> None:
        """A GradScaler scaled the loss that is differentiated next."""
        scale = private(scaler, "_scale")  # a disabled scaler has none
        if isinstance(scale, torch.Tensor):
            self.scale = scale.detach().clone()

    def on_loader(self, loader: Any) -> None:
        """A DataLoader is about to be iterated in this process: the one before the first step feeds the training."""
        # An evaluation before the first step runs without gradients.
        shared = self.shared
        if shared.after_step < 0 and torch.is_grad_enabled():
            shared.batches_per_epoch, shared.loader_batch_size = batches_of(loader)
            note_loader(loader)

    def log(self, loss: Any, split: str | None, count: int) -> None:
        """`Recorder.log`: a training loss of the coming step, or an evaluation loss."""
        value = loss.detach().clone() if isinstance(loss, torch.Tensor) else float(loss)
        book = self.shared.book
        if split in (None, "train") and self.table.training() != 0:
            book.logged()
            self.seen.logged = value
        else:
            name = {"val": "validation", "valid": "validation"}.get(split or "", split or "evaluation")
            call = LossCall(book.logged(), torch.as_tensor(value), count, 0, count)
            # What the script logs is what it means; the same losses seen without a name are not a second split.
            self.undecided.leave()
            self.evaluations.refute()
            self.evaluations.forget(name, call.loss)
            evaluate(self, call, 0, Part(name))

    def on_derivative(self, roots: Sequence[Any], given: Sequence[Any]) -> None:
        """The script asks for gradients of `roots`; `given` are the tensors, where these get no graph of their own."""
        self.observers.call(GRAPH, self.shared.graph.on_derivative, self, given)
        if self.undecided.calls:
            self._decide(roots)

    def _decide(self, roots: Sequence[Any], reached: Set[int] | None = None) -> None:
        """What is differentiated now, or will be, is no evaluation's loss."""
        # A backward may run in another thread than the forward pass; nodes of two threads may look alike.
        others = [other for other in self._threads.others() if other.undecided.calls]
        others = [] if others and leading_to([*self.undecided.calls, *self.pending], roots) else others
        training = self.undecided.training(self.pending, roots, self.mode(roots, reached))
        if training:
            self.evaluations.refute()
        for other in others:
            if other.undecided.caused(roots):
                training += other.undecided.leave()
                other.evaluations.refute()
        self.pending = [*training, *self.pending][-_PENDING:]

    @property
    def evaluating(self) -> bool:
        """Whether losses were seen, since the last backward, that are an evaluation's or may be."""
        return bool(self.undecided.calls) or self.evaluations.begun

    def finish_evaluation(self) -> None:
        """A training step begins, or all ends: the evaluation pass is complete."""
        if self.undecided.leave():
            self.evaluations.confirm()
        else:
            self.evaluations.refute()
        if self.evaluations.begun:
            self.modes.clear()
            self.shared.evaluated += self.evaluations.close()
            del self.shared.evaluated[:-_MOST_PASSES]

    def note_pass(self) -> None:
        """The open evaluation pass rests: write what it found so far; later rows of it take their place."""
        self.shared.evaluated += self.evaluations.so_far()

    def take(self, number: int, optimizer: OptimizerLike, first: bool) -> tuple[StepObservation, Any]:
        """What belongs to the step that optimizer `number` makes now, and whether its gradients were cleared.

        An optimizer that steps right after another one, with no backward between, shares its losses.
        """
        if not self.seen.roots and self.pending:
            # torch.autograd.grad leaves no backward root: the losses before the step are all there is.
            self.seen.calls, self.pending = self.pending, []
        if not self.seen:
            self._adopt(number)
        if self.seen:
            self._taken = self.seen
        self.seen = StepObservation()
        self.stepped.add(number)
        cleared = self.shared.cleared.pop(number, None)
        taken = self._taken
        if taken.marks:
            taken = self.observers.call(CLEARED, counting, self, taken, optimizer, default=taken)
        return taken, None if first else cleared

    def _adopt(self, number: int) -> None:
        """Take over what threads saw that never step themselves: a backward in a thread of its own, say."""
        parameter_set = self.table.parameter_sets.get(number)
        if (
            parameter_set is None
            or not self.alone(parameter_set)
            or all(p.grad is None for p in parameter_set.parameters() or [])
        ):
            return  # a step without a gradient is nobody's
        others = self._threads.others()
        ended = self._threads.ended() if others else []
        for other in others:
            if other.seen and (not other.stepped or other in ended):
                self.seen.add(other.seen)
                other.seen = StepObservation()

    def skip(self) -> None:
        """Drop what belongs to a step that is not recorded."""
        self.seen, self._taken = StepObservation(), StepObservation()

    def forget(self) -> None:
        """Drop what a closure's further calls left behind: a line search, not the next step."""
        self.seen, self.pending, self.clips.calls = StepObservation(), [], []
