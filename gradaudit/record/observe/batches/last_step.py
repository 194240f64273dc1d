"""Whether predictions rest on the last step of a recurrent layer alone, and how much padding stands before that."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gradaudit.record.internals import private
from gradaudit.record.observe.batches.attention import Embedded, is_positionwise
from gradaudit.record.observe.graph.nodes import axis_of, parents_of, shape_before
from gradaudit.record.observe.loss.hand_written import kind_of
from gradaudit.schema.loaders import LastStepFacts

_DEEP = 24  # operations between a prediction and the step it is made from
_LOOKS = 4  # losses whose graph is looked at, before it is taken for one that is made from something else
_SHORTEST = 4  # positions with one id at the end that are taken for padding: fewer may be words
_MODULES = 4000
_LAYERS = {"MkldnnRnnLayer", "CudnnRnn", "MiopenRnn", "Stack"}


@dataclass
class LastStep:
    """What is known so far; counts on the device."""

    looks: int = 0
    found: int = 0
    numbers: torch.Tensor | None = None

    def look(self, here: Embedded, ids: list[torch.Tensor], prediction: torch.Tensor, roots: Any) -> None:
        """Look at the predictions of one loss, one for each example."""
        if self.looks >= _LOOKS and not self.found:
            return
        self.looks += 1
        number = _read(here, ids, prediction, roots)
        if number is None or len(prediction) != len(ids[number]):
            return
        self.found += 1
        with torch.no_grad():
            numbers = _padding(ids[number])
        if self.numbers is None or self.numbers.device == numbers.device:
            self.numbers = numbers if self.numbers is None else _join(self.numbers, numbers)

    def facts(self, numbers: torch.Tensor | None) -> LastStepFacts:
        """What goes into run.json, from the numbers on the host."""
        if numbers is None:
            return LastStepFacts(looks=self.looks)
        rows, places, padded, padding, inside, least, most = numbers.tolist()
        return LastStepFacts(looks=self.looks, found=self.found, rows=rows, positions=places, padded=padded,
                             padding=padding, inside=inside, one_id=padded > 0 and least == most)  # fmt: skip


def _read(here: Embedded, ids: list[torch.Tensor], prediction: torch.Tensor, roots: Any) -> int | None:
    """The ids whose last step in a recurrent layer, over sequences that are not packed, predictions are made from."""
    node: Any = prediction.grad_fn
    for _ in range(_DEEP):
        if node is None:
            return None
        kind = kind_of(node.name())
        if kind == "Select":
            return _of_step(here, ids, node, roots)
        inputs = [parent for parent, _ in parents_of(node) if kind_of(parent.name()) not in ("T", "Transpose")]
        inputs = [parent for parent in inputs if getattr(parent, "variable", None) is None]
        if len(inputs) != 1 or not is_positionwise(node):
            return None
        node = inputs[0]
    return None


def _of_step(here: Embedded, ids: list[torch.Tensor], node: Any, roots: Any) -> int | None:
    """The same of a node that selects something: the last output of a layer, or its last state."""
    before = shape_before(node)
    axis = axis_of(node, len(before)) if before is not None else None
    index = private(node, "_saved_index")
    if before is None or axis is None or len(before) != 3 or not isinstance(index, int):
        return None
    if index not in (before[axis] - 1, 2**64 - 1, -1):
        return None
    layers = _recurrent(roots)
    if not layers or any(layer.bidirectional for layer in layers):
        return None
    source = _source(node)
    number = here.unpacked(source, ids) if source is not None else None
    if number is None:
        return None
    # An output is one of as many as there are ids; a state is one of as many as there are layers.
    of_state = axis == 0 and before[0] in {layer.num_layers for layer in layers} and before[1] == len(ids[number])
    return number if of_state or before[axis] == _length(ids[number], before) else None


def _source(node: Any) -> Any:
    """The recurrent layer, or its last step, whose output is selected."""
    for _ in range(3):
        parents = parents_of(node)
        if len(parents) != 1 and kind_of(node.name()) != "Select":
            return None
        node = parents[0][0]
        kind = kind_of(node.name())
        if kind in _LAYERS:
            # Of outputs that are stacked, and of states, the last is looked behind.
            return parents_of(node)[-1][0] if kind == "Stack" else node
        if kind != "Transpose":
            return None
    return None


def _length(ids: torch.Tensor, shape: tuple[int, ...]) -> int:
    """The positions of sequences in [examples, positions] or [positions, examples], as the layer takes them."""
    return int(ids.shape[1] if sorted(shape[:2]) == sorted(ids.shape) else -1)


def _recurrent(roots: Any) -> list[nn.RNNBase]:
    return [one for root in roots for one in list(root.modules())[:_MODULES] if isinstance(one, nn.RNNBase)]


def _padding(ids: torch.Tensor) -> torch.Tensor:
    """[7]: rows, positions, rows that end in a run of one id, its length in all, that id before it, its range."""
    last = ids[:, -1:]
    here = ids == last
    runs = here.flip(1).to(torch.int64).cumprod(1).sum(1)
    padded = (runs >= _SHORTEST) & (runs < ids.shape[1])
    inside = here.sum(1) - runs
    values = last[:, 0].to(torch.int64)
    high = torch.iinfo(torch.int64).max
    total = torch.full_like(runs[0], len(ids))
    return torch.stack([
        total, total * ids.shape[1], padded.sum(), (runs * padded).sum(), (inside * padded).sum(),
        values.masked_fill(~padded, high).amin(), values.masked_fill(~padded, -1).amax(),
    ])  # fmt: skip


def _join(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.cat([one[:5] + other[:5], torch.minimum(one[5:6], other[5:6]), torch.maximum(one[6:], other[6:])])
