"""How a training uses the copies of its model: whether it calls them, with a gradient or without, and on what.

A reference model, or a teacher, is given what the trained one is given. A target network is given something else.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from gradaudit.record.measure.checksums import checksum
from gradaudit.record.observe.model_state.looks import Look

STEPS = 8  # over which calls are watched for
_MOST_CALLS = 64  # of each side at one step
Watch = Callable[[Callable[[nn.Module], bool]], RemovableHandle]


@dataclass
class Usage:
    """The calls of one copy, and of the trained module under a gradient, at the steps that were watched."""

    steps: int = 0
    called: int = 0
    without_grad: int = 0
    _with_grad: bool = False
    _mine: list[torch.Tensor] = field(default_factory=list)
    _theirs: list[torch.Tensor] = field(default_factory=list)
    _inputs: list[tuple[Look, int]] = field(default_factory=list)  # of a step: checksums, and how many are the copy's

    def note(self, *, mine: bool, inputs: Sequence[torch.Tensor]) -> None:
        """A call of the copy's first layer, or of the trained module's, on these."""
        if mine:
            self._with_grad = self._with_grad or torch.is_grad_enabled()
        elif not torch.is_grad_enabled():
            return
        sums = self._mine if mine else self._theirs
        if len(sums) < _MOST_CALLS:
            with torch.no_grad():
                total = checksum([each for each in inputs if each.numel()])
            if total is not None:
                sums.append(total)

    def step(self) -> None:
        """A step was made."""
        self.steps += 1
        if self._mine:
            self.called += 1
            self.without_grad += not self._with_grad
            if self._theirs:
                device = self._mine[0].device
                values = torch.stack([each.to(device, non_blocking=True) for each in (*self._mine, *self._theirs)])
                self._inputs.append((Look.of(0, values), len(self._mine)))
        self._mine, self._theirs, self._with_grad = [], [], False

    def facts(self) -> dict[str, int]:
        """Fields of `CopyFacts`."""
        same = 0
        for look, count in list(self._inputs):
            sums = look.numbers().tolist()
            same += set(sums[count:]) <= set(sums[:count])
        return {
            "watched": self.steps, "called": self.called, "without_grad": self.without_grad,
            "compared": len(self._inputs), "same_input": same,
        }  # fmt: skip


class Watched:
    """The first layers of copies and of trained modules, whose calls are told for some steps."""

    def __init__(self) -> None:
        self._handle: RemovableHandle | None = None
        self._layers: dict[int, list[tuple[Usage, bool]]] = {}
        self._usages: list[Usage] = []
        self._left = 0

    @property
    def going(self) -> bool:
        """Whether calls are told."""
        return self._handle is not None

    def begin(self, pairs: Sequence[tuple[nn.Module, nn.Module, Usage]], watch: Watch) -> None:
        """Watch the calls of these pairs."""
        self.end()
        self._left = STEPS
        for copy, trained, usage in pairs:
            self._usages.append(usage)
            for module, mine in ((copy, True), (trained, False)):
                layer = _first_layer(module)
                if layer is not None:
                    self._layers.setdefault(id(layer), []).append((usage, mine))
        if self._layers:
            self._handle = watch(self.wanted)

    def wanted(self, module: nn.Module) -> bool:
        """Whether a call of this module is told."""
        return id(module) in self._layers

    def on_call(self, module: nn.Module, arguments: Iterable[Any]) -> None:
        """A module that is wanted is about to be called."""
        inputs = [each for each in arguments if type(each) in (torch.Tensor, nn.Parameter)]
        for usage, mine in self._layers.get(id(module), ()):
            usage.note(mine=mine, inputs=inputs)

    def step(self) -> None:
        """A step was made; after some the watch is over."""
        for usage in self._usages:
            usage.step()
        self._left -= 1
        if self._left <= 0:
            self.end()

    def end(self) -> None:
        """Watch no longer."""
        if self._handle is not None:
            self._handle.remove()
        self._handle, self._layers, self._usages = None, {}, []


def _first_layer(module: nn.Module) -> nn.Module | None:
    """The first module inside that has parameters of its own, in the order of registration."""
    for part in module.modules():
        if next(part.parameters(recurse=False), None) is not None:
            return part
    return None
