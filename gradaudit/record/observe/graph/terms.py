"""Which terms an objective is the sum of, and which parameters each of them reaches: read off the autograd graph."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import torch

from gradaudit.record.internals import private
from gradaudit.record.observe.graph.nodes import plain_number, saved_number, shape_of
from gradaudit.schema import TensorFacts

_MOST_TERMS = 16
_MOST_NODES = 50_000  # of one graph
_MOST_LEAVES = 100_000  # of all terms together

_SUMS = {"AddBackward0": (1.0, 1.0), "SubBackward0": (1.0, -1.0)}  # of what comes second, times its alpha
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


class Summand(NamedTuple):
    """One term of an objective: the node that gave it, and the number that it is multiplied with; None unknown."""

    node: Any
    factor: float | None


class Sum(NamedTuple):
    """What an objective is the sum of; `constants` are the factors of what no gradient goes through."""

    terms: list[Summand]
    constants: list[float | None]


def terms_of(root: Any, scaled: bool = False) -> Sum:
    """What a scalar is the sum of, up to constant factors. A product that a GradScaler made of it does not count.

    A stacked list of too many is one term, as the losses of an episode, and where they still are too many the root.
    """
    start = Summand(_unscaled(root) if scaled else root, 1.0)
    found = _summands(start, lists=False)
    if found is None:
        return Sum([start], [])
    for term in list(found.terms):
        inside = _summands(term, lists=True)
        if inside is not None and len(found.terms) + len(inside.terms) - 1 <= _MOST_TERMS:
            place = found.terms.index(term)
            found.terms[place : place + 1] = inside.terms
            found.constants.extend(inside.constants)
    return found


def _unscaled(root: Any) -> Any:
    parents = [parent for parent, _ in root.next_functions if parent is not None]
    return parents[0] if root.name() == "MulBackward0" and len(parents) == 1 else root


def _summands(start: Summand, lists: bool) -> Sum | None:
    """What a node is the sum of, written out or also as a list; None of more than there may be."""
    found, queue = Sum([], []), [start]
    while queue:
        term = queue.pop()
        parts = _parts(term.node, lists)
        if parts is None:
            found.terms.append(term)
        for parent, times in parts or ():
            factor = None if term.factor is None or times is None else term.factor * times
            if parent is None:
                found.constants.append(factor)
            else:
                queue.append(Summand(parent, factor))
        if len(found.terms) + len(queue) > _MOST_TERMS or len(found.constants) > _MOST_TERMS:
            return None
    return found


def _parts(node: Any, lists: bool) -> list[tuple[Any, float | None]] | None:
    """What a node adds up, each with its factor, and None for what has no gradient; None of any other node."""
    name, parents = node.name(), [parent for parent, _ in node.next_functions]
    known = [parent for parent in parents if parent is not None]
    if name in _SUMS and len(parents) == 2:
        alpha = plain_number(private(node, "_saved_alpha", 1))
        first, second = _SUMS[name]
        return [(parents[0], first), (parents[1], _times(second, alpha))]
    if name in ("RsubBackward0", "RsubBackward1"):
        alpha = plain_number(private(node, "_saved_alpha", 1))
        return [(parents[0], _times(-1.0, alpha)), *((parent, 1.0) for parent in parents[1:])]
    if name in _SAME and len(known) == 1:
        return [(known[0], -1.0 if name == "NegBackward0" else 1.0)]
    # The gradient of a number divided by a loss is no constant.
    if len(known) == 1 and (name == "MulBackward0" or (name == "DivBackward0" and parents[0] is not None)):
        other = saved_number(node, "_raw_saved_other" if parents[0] is not None else "_raw_saved_self")
        if name == "DivBackward0":
            other = 1 / other if other else None
        return [(known[0], other)]
    if lists and name in ("SumBackward0", "MeanBackward0") and known and known[0].name() in _JOINED:
        joined = [parent for parent, _ in known[0].next_functions]
        scalars = known[0].name() == "StackBackward0" and shape_of(known[0]) == (len(joined),)
        each = 1.0 if name == "SumBackward0" else 1 / len(joined) if scalars else None
        return [(parent, each) for parent in joined]
    return None


def _times(sign: float, alpha: float | None) -> float | None:
    return None if alpha is None else sign * alpha


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
