"""Which terms an objective is the sum of, and which parameters each of them reaches: read off the autograd graph."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import torch

from gradaudit.schema import TensorFacts

_MOST_TERMS = 16
_MOST_NODES = 50_000  # of one graph
_MOST_LEAVES = 100_000  # of all terms together

_FACTORS = ("MulBackward0", "DivBackward0")
_SAME = ("NegBackward0", "ToCopyBackward0", "CloneBackward0", "AliasBackward0", "ViewBackward0", "SqueezeBackward0")
_JOINED = ("StackBackward0", "CatBackward0")

Identifiers = Mapping[int, tuple["weakref.ref[torch.Tensor]", int]]  # of the tensors of a run, by identity


class Terms:
    """The sets of parameters that single terms reach, as they were met. Used under the recording's lock."""

    def __init__(self) -> None:
        self.reached: list[frozenset[int]] = []  # identities
        self._leaves: dict[int, weakref.ref[torch.Tensor]] = {}
        self._numbers: dict[int, list[int]] = {}  # tensor: places in `reached`
        self._over = False

    def add(self, leaves: Mapping[int, torch.Tensor] | None) -> None:
        """A term reaches these; None of too large a graph."""
        if self._over:
            return
        if leaves is None or sum(map(len, self.reached)) + len(leaves) > _MOST_LEAVES:
            self._over, self.reached = True, []
            return
        found = frozenset(leaves)
        # A penalty on one tensor has nothing to compare it with.
        if len(found) < 2 or found in self.reached:
            return
        if len(self.reached) >= _MOST_TERMS:
            self._over, self.reached = True, []
            return
        self.reached.append(found)
        self._leaves |= {key: weakref.ref(leaf) for key, leaf in leaves.items() if key not in self._leaves}

    def name(self, known: Identifiers) -> None:
        """Find the numbers of the tensors reached, while they exist; `known` are those that the run knows by now."""
        for place, found in enumerate(list(self.reached)):
            for key in found:
                entry, leaf = known.get(key), self._leaves[key]()
                if entry is not None and leaf is not None and entry[0]() is leaf:
                    numbers = self._numbers.setdefault(entry[1], [])
                    if place not in numbers:
                        numbers.append(place)

    def told(self, facts: Sequence[TensorFacts], known: Identifiers) -> list[TensorFacts]:
        """The facts of the tensors with the terms that reach each, where there are several."""
        if self._over or len(self.reached) < 2:
            return list(facts)
        self.name(known)
        return [msgspec.structs.replace(one, terms=sorted(self._numbers.get(one.id, []))) for one in facts]


def terms_of(root: Any) -> list[Any]:
    """The autograd nodes that a scalar is the sum of, up to constant factors.

    A stacked list of too many is one of them, as the losses of an episode, and where they still are too many the root.
    """
    found = _summands(root, lists=False)
    if found is None:
        return [root]
    for node in list(found):
        inside = _summands(node, lists=True)
        if inside is not None and len(found) + len(inside) - 1 <= _MOST_TERMS:
            place = found.index(node)
            found[place : place + 1] = inside
    return found


def _summands(root: Any, lists: bool) -> list[Any] | None:
    """What a node is the sum of, written out or also as a list; None of more than there may be."""
    found, queue = [], [root]
    while queue:
        node = queue.pop()
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        name = node.name()
        if name in ("AddBackward0", "SubBackward0") or (name in (*_FACTORS, *_SAME) and len(parents) == 1):
            queue += parents
        elif lists and name in ("SumBackward0", "MeanBackward0") and parents and parents[0].name() in _JOINED:
            queue += [parent for parent, _ in parents[0].next_functions if parent is not None]
        else:
            found.append(node)
        if len(found) + len(queue) > _MOST_TERMS:
            return None
    return found


def reached_from(node: Any) -> dict[int, torch.Tensor] | None:
    """The tensors that a backward from this node gives gradients to, by identity; None of too large a graph."""
    found: dict[int, torch.Tensor] = {}
    queue, seen = [node], {node}
    while queue:
        if len(seen) > _MOST_NODES:
            return None
        node = queue.pop()
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            found[id(leaf)] = leaf
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                queue.append(parent)
    return found
