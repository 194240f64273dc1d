"""What is seen between two optimizer steps: losses, backward roots, clipping, AMP scales, evaluation passes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, islice
from typing import Any

import torch

from gradaudit.record import losses
from gradaudit.record.losses import Call, Evaluations, LossBook, node_key, together
from gradaudit.record.normalisation import note
from gradaudit.record.on_host import value_of
from gradaudit.record.samples import of_loss
from gradaudit.record.sharding import local
from gradaudit.record.splits import note_training
from gradaudit.record.tensors import TensorTable

_PENDING = 64  # training losses kept without a backward; more are somebody's metric
_SAMPLED = 4  # losses of one step whose input is sampled: those of the first micro-steps
_GATHERED = 1024  # backward roots and losses kept one by one; more are added up
_MOST_PASSES = 10_000  # evaluation passes that wait for a first step
_UNSTEPPED = 1000  # backward passes before the first step, after which the script is told that none was seen
_STALE_LOOK = 4  # tensors looked at, to see whether gradients were zeroed


@dataclass(eq=False)
class Clip:
    """One call of a clipping function: `kind` 1 by norm, with the norm before; 2 by value."""

    kind: int
    threshold: float
    norm: torch.Tensor | None
    parameters: set[int]
    clipped: torch.Tensor | None = None  # by value: the share of elements changed


@dataclass(eq=False)
class Seen:
    """What belongs to one step."""

    # Their values, with the AMP scale.
    roots: list[tuple[torch.Tensor | float, torch.Tensor | None]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    logged: float | torch.Tensor | None = None
    backwards: int = 0

    def gather(self) -> None:
        """Add up what is too much to keep one by one."""
        if len(self.roots) > _GATHERED:
            scaled = [value if scale is None else value / scale for value, scale in self.roots]
            values = [torch.as_tensor(value, dtype=torch.float64) for value in scaled]
            device = values[0].device
            self.roots = [(torch.stack([value.to(device, non_blocking=True) for value in values]).sum(), None)]
        if len(self.calls) > _GATHERED:
            self.calls = together(self.calls)


class Between:
    """Gathers what the seams see until an optimizer steps and takes it."""

    def __init__(self, table: TensorTable) -> None:
        self.table = table
        self.book = LossBook()
        self.evaluations = Evaluations()
        self.evaluated: list[dict[str, Any]] = []
        self.batches_per_epoch = self.loader_batch_size = 0
        self.after_step, self.time = -1, 0.0  # of the last step taken
        self.samples_left = _SAMPLED  # inputs of losses still to be sampled in this step
        self._seen, self._taken = Seen(), Seen()
        self._pending: list[Call] = []
        self._scale: torch.Tensor | None = None
        self._clips: list[Clip] = []
        self._cleared: dict[int, Any] = {}
        self._worker: bool | None = None  # this process loads data, and its losses are nobody's

    def on_loss(self, name: str, result: torch.Tensor, call: dict[str, Any]) -> None:
        """A loss function returned `result`: for training if a backward follows, else for evaluation."""
        if self._worker is None:
            self._worker = torch.utils.data.get_worker_info() is not None
        if self._worker:
            return
        seen = self.book.observe(name, result, call)
        if result.requires_grad:
            if self.samples_left > 0:
                self.samples_left -= 1
                seen.sample = of_loss(call["input"], self.book.classes_of(seen.loss))
            self._pending.append(seen)
            del self._pending[:-_PENDING]
        else:
            self.evaluations.add(seen, self.table.training())

    def on_backward(self, roots: Sequence[Any], gradients: Any) -> None:
        """`torch.autograd.backward` is about to run from `roots`."""
        self.close_pass()
        if self.after_step < 0:
            note_training()
        values = list(gradients) if isinstance(gradients, tuple | list) else [gradients]
        for index, root in enumerate(roots):
            if not isinstance(root, torch.Tensor) or not losses.has_value(root):
                continue
            value = root.detach()
            self._seen.backwards += 1
            known = value_of(value) if gradients is None else None
            if known is not None:
                self._seen.roots.append((known, self._scale))
                continue
            weight = values[index] if index < len(values) else None
            # Scripts change the loss in place after the backward: keep a copy.
            value = (value * weight.detach()).sum() if isinstance(weight, torch.Tensor) else value.sum().clone()
            self._seen.roots.append((value, self._scale))
        self._seen.calls += _behind(self._pending, roots)
        self._seen.gather()
        self._pending.clear()
        self._scale = None
        if self.after_step < 0 and self._seen.backwards >= _UNSTEPPED:
            self._tell_unstepped()
        self._look_for_stale()

    def on_batch_norm(self, key: torch.Tensor, input: torch.Tensor) -> None:
        """A BatchNorm module that `key` belongs to is training on `input`."""
        note(key, input)

    def on_scale(self, scaler: Any) -> None:
        """A GradScaler scaled the loss that is differentiated next."""
        if scaler._scale is not None:
            self._scale = scaler._scale.clone()

    def on_clip(
        self, kind: int, parameters: Sequence[torch.Tensor], threshold: Any, total: Any, norm_type: Any = 2.0
    ) -> None:
        """Gradients were clipped: kind 1 by norm (`total` before), 2 by value."""
        # Another norm than the second is not what the record calls the gradient norm.
        total = total if float(norm_type) == 2.0 else None
        # The sum over the ranks of a partial norm would take all of them to find out.
        partial = any(placement.is_partial() for placement in getattr(total, "placements", ()))
        norm = local(total.detach()).clone() if isinstance(total, torch.Tensor) and not partial else None
        limit = float(threshold) if not isinstance(threshold, torch.Tensor) else math.nan
        self._clips.append(Clip(kind, limit, norm, {id(parameter) for parameter in parameters}))
        del self._clips[:-16]

    def on_value_clip(self, parameters: Sequence[torch.Tensor], threshold: Any, measured: bool) -> None:
        """Gradients are about to be clipped by value; `measured` where statistics are recorded at the coming step."""
        # Read from a configuration file, 1e-3 is a text, which torch takes.
        threshold = threshold if isinstance(threshold, torch.Tensor) else float(threshold)
        self.on_clip(2, parameters, threshold, None)
        gradients = [
            local(p.grad.detach()) for p in parameters if p.grad is not None and p.grad.layout == torch.strided
        ]
        if measured and gradients:
            device = gradients[0].device
            changed = [(gradient.abs() > threshold).sum().to(device, non_blocking=True) for gradient in gradients]
            self._clips[-1].clipped = torch.stack(changed).sum() / max(1, sum(item.numel() for item in gradients))
            if not self.table.sharded():
                norms = [torch.linalg.vector_norm(gradient, dtype=torch.float64).to(device) for gradient in gradients]
                self._clips[-1].norm = torch.linalg.vector_norm(torch.stack(norms))

    def on_loader(self, loader: Any) -> None:
        """A DataLoader is about to be iterated in this process: the one before the first step feeds the training."""
        # An evaluation before the first step runs without gradients.
        if self.after_step < 0 and torch.is_grad_enabled():
            known = getattr(loader, "_IterableDataset_len_called", None)
            try:
                self.batches_per_epoch = len(loader)
            except Exception:  # an iterable dataset has no length, and others' lengths are their own code
                self.batches_per_epoch = 0
            if hasattr(loader, "_IterableDataset_len_called"):
                # Asked for its length, a loader warns of data sets that lie about theirs.
                loader._IterableDataset_len_called = known
            self.loader_batch_size = getattr(loader, "batch_size", None) or 0

    def log(self, loss: Any, split: str | None, count: int) -> None:
        """`Recorder.log`: a training loss of the coming step, or an evaluation loss."""
        value = loss.detach().clone() if isinstance(loss, torch.Tensor) else float(loss)
        if split in (None, "train") and self.table.training() != 0:
            self.book.logged()
            self._seen.logged = value
        else:
            name = {"val": "validation", "valid": "validation"}.get(split or "", split or "evaluation")
            call = Call(self.book.logged(), torch.as_tensor(value), count, 0, count)
            # What the script logs is what it means; the same losses seen without a name are not a second split.
            for label, entry in list(self.evaluations.open.items()):
                if entry.loss != call.loss and (label == name or label.startswith("evaluation")):
                    del self.evaluations.open[label]
            self.evaluations.add(call, 0, name)

    def close_pass(self) -> None:
        """A training step begins, or all ends: the evaluation pass is complete."""
        if self.evaluations.open:
            self.evaluated += self.evaluations.close(self.after_step, self.time)
            del self.evaluated[:-_MOST_PASSES]

    def take(self, number: int, first: bool) -> tuple[Seen, Any]:
        """What belongs to the step that optimizer `number` makes now, and whether its gradients were cleared.

        An optimizer that steps right after another one, with no backward between, shares its losses.
        """
        if self._pending and not self._seen.roots:
            # torch.autograd.grad leaves no backward root: the losses before the step are all there is.
            self._seen.calls, self._pending = self._pending, []
        if self._seen.roots or self._seen.calls or self._seen.logged is not None:
            self._taken = self._seen
        self._seen = Seen()
        cleared = self._cleared.pop(number, None)
        return self._taken, None if first else cleared

    def sample_next(self, due: bool) -> None:
        """Whether the inputs of the coming step's losses are sampled."""
        self.samples_left = _SAMPLED if due else 0

    def forget(self) -> None:
        """Drop what a closure's further calls left behind: a line search, not the next step."""
        self._seen, self._pending, self._clips = Seen(), [], []

    def take_clip(self, optimizer: torch.optim.Optimizer) -> tuple[Clip, bool] | None:
        """The clipping of this optimizer's gradients since its last step, and whether its norm is that of all of them.

        Of several, as where one only reads the norm, the tightest threshold and the first norm hold.
        """
        if not self._clips:
            return None
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        mine = [clip for clip in self._clips if clip.parameters & held]
        if not mine:
            return None
        self._clips = [clip for clip in self._clips if not clip.parameters & held]
        # A part of the optimizer's tensors has a norm of its own, not the optimizer's.
        whole = next((clip for clip in mine if len(clip.parameters & held) >= 0.9 * len(held)), None)
        tightest = min(mine, key=lambda clip: clip.threshold if math.isfinite(clip.threshold) else math.inf)
        return replace(tightest, norm=(whole or tightest).norm), whole is not None

    def _tell_unstepped(self) -> None:
        from gradaudit.record import session

        session.warn(
            f"gradaudit: {_UNSTEPPED:,} backward passes and no step of a torch.optim.Optimizer: nothing is recorded yet"
        )

    def _look_for_stale(self) -> None:
        """Were an optimizer's gradients absent or zero at some backward since its last step?"""
        for number, plan in self.table.plans.items():
            if self._cleared.get(number) is True:
                continue
            # Those of a frozen front part never have one, and those of no optimizer are nobody's to clear.
            owned = compress(plan.references, plan.owned)
            given = (p.grad for r in owned if (p := r()) is not None and p.grad is not None)
            looked = list(islice(given, _STALE_LOOK))
            looked = [local(grad.detach()) for grad in looked if grad.layout == torch.strided]
            if not looked:
                self._cleared[number] = True
                continue
            zero = torch.stack([(grad.reshape(-1)[:256] == 0).all() for grad in looked]).all()
            before = self._cleared.get(number)
            self._cleared[number] = zero if before is None else zero | before


def _behind(pending: list[Call], roots: Sequence[Any]) -> list[Call]:
    """The losses that `roots` were computed from; a metric that nobody differentiates is left out."""
    if len(pending) < 2:
        return list(pending)
    wanted = {call.node: call for call in pending}
    found: set[Any] = set()
    queue = [root.grad_fn for root in roots if isinstance(root, torch.Tensor) and root.grad_fn is not None]
    looked = 0
    # The sum of a few losses is a handful of nodes deep; beyond that it is the model.
    while queue and looked < 256:
        node = queue.pop(0)
        looked += 1
        key = node_key(node)
        if key in wanted:
            found.add(key)
        else:
            queue += [parent for parent, _ in node.next_functions if parent is not None]
    return [call for call in pending if call.node in found] or list(pending)
