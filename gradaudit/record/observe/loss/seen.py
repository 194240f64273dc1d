"""What belongs to one optimizer step, as a thread gathers it: backward roots, and the losses behind them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gradaudit.record.observe.loss.calls import LossCall, node_key, together
from gradaudit.record.observe.loss.hand_written import likelihood
from gradaudit.record.observe.loss.losses import LossRegistry, has_value

_GATHERED = 1024  # backward roots and losses kept one by one; more are added up


@dataclass(eq=False, slots=True)
class StepObservation:
    """What belongs to one step."""

    # Their values, with the AMP scale.
    roots: list[tuple[torch.Tensor | float, torch.Tensor | None]] = field(default_factory=list)
    calls: list[LossCall] = field(default_factory=list)
    logged: float | torch.Tensor | None = None
    backwards: int = 0
    given: bool = False  # some gradients went to the script, and not into the parameters
    # How many roots, losses and backwards an optimizer's gradients were cleared after, by its identity.
    marks: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.roots or self.calls) or self.logged is not None

    def add(self, other: "StepObservation") -> None:
        """Take in what another thread saw for the same step."""
        self.marks = {} if self else other.marks
        self.roots += other.roots
        self.calls += other.calls
        self.backwards += other.backwards
        self.given |= other.given
        self.logged = self.logged if other.logged is None else other.logged

    def mark(self, optimizer: Any) -> None:
        """The optimizer's gradients were cleared."""
        self.marks[id(optimizer)] = (len(self.roots), len(self.calls), self.backwards)

    def since(self, optimizer: Any) -> "StepObservation":
        """What was seen since the optimizer's gradients were cleared last."""
        roots, calls, backwards = self.marks.get(id(optimizer), (0, 0, 0))
        rest = StepObservation(
            self.roots[roots:], self.calls[calls:], self.logged, self.backwards - backwards, self.given
        )
        for call in rest.calls:
            # A sample of the input of the same loss is better than none.
            if all(one.sample is None for one in rest.calls if one.loss == call.loss):
                call.sample = next((one.sample for one in self.calls if one.loss == call.loss), None)
        return rest

    def gather(self) -> None:
        """Add up what is too much to keep one by one."""
        if len(self.roots) > _GATHERED:
            scaled = [value if scale is None else value / scale for value, scale in self.roots]
            values = [torch.as_tensor(value, dtype=torch.float64) for value in scaled]
            device = values[0].device
            self.marks.clear()
            self.roots = [(torch.stack([value.to(device, non_blocking=True) for value in values]).sum(), None)]
        if len(self.calls) > _GATHERED:
            self.marks.clear()
            self.calls = together(self.calls)


def behind(pending: list[LossCall], roots: Sequence[Any]) -> list[LossCall]:
    """The losses that `roots` were computed from; a metric that nobody differentiates is left out."""
    return list(pending) if len(pending) < 2 else leading_to(pending, roots) or list(pending)


def leading_to(pending: Sequence[LossCall], roots: Sequence[Any]) -> list[LossCall]:
    """The losses that are found in the graph of `roots`."""
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
    return [call for call in pending if call.node in found]


def written_out(between: Any, roots: Sequence[Any], gradients: Any) -> list[LossCall]:
    """The cross entropy that the one root is, where the script wrote it out itself; its value was seen last."""
    book: LossRegistry = between.shared.book
    seen: StepObservation = between.seen
    root = roots[0] if book.looks and gradients is None and len(roots) == 1 and seen.roots else None
    if type(root) is not torch.Tensor or root.grad_fn is None or not has_value(root):
        return []
    value, scale = seen.roots[-1]
    found = book.hand_written(likelihood(root, scale is not None), value if scale is None else value / scale)
    return [found] if found is not None else []
