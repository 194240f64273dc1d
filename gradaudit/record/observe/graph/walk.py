"""One walk over the autograd graph behind a root: its size, what it reaches, and what its axes say."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch

from gradaudit.record.internals import private
from gradaudit.record.observe.graph.axes import Softmax, View, scan_at, softmax_at, summed_softmax, view_at
from gradaudit.record.observe.graph.nodes import VIEWS, is_compiled, is_own, shape_of
from gradaudit.record.observe.loss.hand_written import kind_of

_MOVING = {*VIEWS, "Unbind", "MkldnnRnnLayer"}
MOST_NODES = 50_000  # about 0.1 s; what lies behind is not seen


@dataclass(eq=False)
class Walk:
    """What one walk found. It holds tensors that it reached, and is dropped when they are noted."""

    nodes: int = 0
    leaves: dict[int, torch.Tensor] = field(default_factory=dict)  # by identity
    softmaxes: Counter[Softmax] = field(default_factory=Counter)
    views: Counter[View] = field(default_factory=Counter)
    oldest: int | None = None  # number of the operation that was made first
    opaque: bool = False  # a function of the script's own, which may reach more
    compiled: bool = False
    complete: bool = True
    shapes: bool = False  # torch says the shapes of what nodes give


def walk_from(root: Any, axes: bool = True) -> Walk:
    """Walk from a node to the leaves; with `axes` look at softmaxes and views, too."""
    found = Walk(shapes=shape_of(root) is not None)
    queue, seen = [root], {root}
    weights: dict[Any, int] = {}  # softmaxes that a product multiplies with: the axis that it sums over
    softmaxes: list[tuple[Any, str]] = []
    while queue:
        if len(seen) > MOST_NODES:
            found.complete = False
            break
        node = queue.pop()
        name = node.name()
        kind = kind_of(name)
        if not kind:
            _note_other(found, node, name)
        elif axes and kind in ("Softmax", "LogSoftmax"):
            softmaxes.append((node, kind))
        elif axes and kind in _MOVING:
            view = view_at(node) if kind in VIEWS else scan_at(node, kind)
            if view is not None:
                found.views[view] += 1
        elif axes and kind == "Bmm":
            weights.update(pair for pair in (summed_softmax(node, True), summed_softmax(node, False)) if pair)
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                queue.append(parent)
    found.nodes = len(seen)
    found.oldest = _oldest(seen)
    for node, kind in softmaxes:
        softmax = softmax_at(node, kind, weights.get(node))
        if softmax is not None:
            found.softmaxes[softmax] += 1
    return found


def _note_other(found: Walk, node: Any, name: str) -> None:
    """A leaf, or a function that Python made."""
    leaf = getattr(node, "variable", None)
    if leaf is not None:
        found.leaves[id(leaf)] = leaf
    elif is_compiled(name):
        found.compiled = True
    elif is_own(name):
        found.opaque = True


def number_of(node: Any) -> int | None:
    """When an operation was made, counted in its thread; None of a leaf, which has no time, and where it is unknown."""
    ask = private(node, "_sequence_nr")
    number = ask() if ask is not None else None
    return number if type(number) is int and 0 <= number < 2**63 else None


def _oldest(nodes: set[Any]) -> int | None:
    numbers = [number for node in nodes if (number := number_of(node)) is not None]
    return min(numbers, default=None)
