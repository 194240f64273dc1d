"""Cross entropies that a script writes out itself: recognised by the autograd graph behind a backward root.

Only where the graph leaves no doubt: the root is a plain mean, or sum, over targets of minus the logarithm of a softmax
at one entry, with no other term and no weight, and the softmax is over all outputs of a layer with a weight of its own.
Policy gradients, ratios, mixtures, smoothed labels and losses over pairs of a batch have more than that in their graph.
"""

import functools
import math
import re
from typing import Any, NamedTuple

import torch

from gradaudit.record.internals import private

FUNCTION = "log_softmax"  # what its `LossFacts` say; torch's own function of that name is not watched

_MOST_NODES = 512  # of a graph that are looked at
_KEPT = 0.5  # a mask that keeps fewer of the targets may pick them by their loss

# What moves numbers, or drops some by their place.
_MOVES = {
    "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Transpose", "Permute", "T", "Clone", "ToCopy",
    "Alias", "Slice", "Select", "Unbind", "Split", "SplitWithSizes",
}  # fmt: skip
_MASKS = {"Index", "MaskedSelect"}
_PICKS = {"Gather", "Index"}
_JOINS = {"Stack", "Cat"}

At = tuple[Any, int]  # a node, and which of its outputs


class Likelihood(NamedTuple):
    """What a root is the mean or the sum of."""

    classes: int
    targets: int
    reduction: str
    batch_size: int


def likelihood(root: torch.Tensor, scaled: bool) -> Likelihood | None:
    """The cross entropy that `root` is; None where it is, or may be, anything else. `scaled` by a GradScaler, too."""
    try:
        return _Look().at_root(root, scaled)
    except (_Unlike, RecursionError):
        return None


@functools.lru_cache(maxsize=1000)
def kind_of(name: str) -> str:
    """What a node is of: Mean of MeanBackward0; nothing of one of a script's own functions."""
    named = re.fullmatch(r"(\w+)Backward\d", name)
    return named[1] if named is not None else ""


class _Unlike(Exception):
    """The graph is another one."""


class _Look:
    def __init__(self) -> None:
        self.left = _MOST_NODES
        self.weight: torch.Tensor | None = None  # of the layer whose outputs the softmax is over
        self.classes = self.batch_size = 0

    def at_root(self, root: torch.Tensor, scaled: bool) -> Likelihood:
        at = (root.grad_fn, root.output_nr)
        if scaled:
            self._require(self._kind(at) == "Mul" and len(factors := _parents(at)) == 1)
            at = factors[0]
        self._require(math.prod(self._shape(at)) == 1)
        sign, each, summed = self._targets(at, outer=True)
        self._require(sign < 0)
        return Likelihood(self.classes, each * summed, "mean" if summed == 1 else "sum", self.batch_size)

    def _targets(self, at: At, outer: bool = False) -> tuple[int, int, int]:
        """(sign, targets that each number is a mean of, numbers that are summed) of logarithms of probabilities."""
        sign, each, summed = 1, 1, 1
        while True:
            kind = self._kind(at)
            if kind in _PICKS and self._picks(at, kind):
                return sign, each, summed
            if kind == "Sub":
                return sign * self._difference(at), each, summed
            if kind == "Log":
                at = self._moved(self._only(at))
                self._require(self._picks(at, self._kind(at), logarithms=False))
                return sign, each, summed
            if kind in _JOINS:
                parts = {self._targets(part) for part in self._all(at)}
                self._require(len(parts) == 1)
                inner, more, _ = parts.pop()
                return sign * inner, each * more, summed
            below = self._only(at)
            if kind == "Neg":
                sign = -sign
            elif kind == "Mean":
                self._require(summed == 1)
                each *= self._times(below, at)
                outer = False
            elif kind == "Sum":
                # Along a dimension it is a sequence, whose likelihood is no mean over its targets.
                self._require(outer and not self._shape(at))
                summed, outer = self._times(below, at), False
            elif kind in _MASKS:
                self._require(math.prod(self._shape(at)) >= _KEPT * math.prod(self._shape(below)))
            else:
                self._require(kind in _MOVES)
            at = below

    def _picks(self, at: At, kind: str, logarithms: bool = True) -> bool:
        """Whether `at` takes one entry for each target out of a softmax, or out of its logarithm."""
        self._require(kind in _PICKS)
        softmax = self._moved(self._only(at))
        kind_of_softmax = self._kind(softmax)
        if logarithms and kind_of_softmax == "Log":
            softmax, logarithms = self._moved(self._only(softmax)), False
            kind_of_softmax = self._kind(softmax)
        if logarithms and kind_of_softmax == "Sub":
            logits, total = self._all(softmax, 2)
            if self._shape(logits) == self._shape(total):
                return False  # of targets, not of classes
            self._require(private(softmax[0], "_saved_alpha") == 1)
            classes, heads = self._normaliser(self._moved(total))
            self._require(heads == {self._head(logits, classes)})
        elif not logarithms and kind_of_softmax == "Div":
            classes = self._quotient(softmax)
        elif kind_of_softmax == ("LogSoftmax" if logarithms else "Softmax"):
            classes = self._length(softmax, private(softmax[0], "_saved_dim"))
            self._head(self._only(softmax), classes)
        else:
            return False
        return self._takes_one(at, kind, classes)

    def _difference(self, at: At) -> int:
        """The sign of the logarithm of a probability, written as logit - logsumexp(logits) or the other way round."""
        self._require(private(at[0], "_saved_alpha") == 1)
        pair = self._all(at, 2)
        size = math.prod(self._shape(at))
        self._require(all(math.prod(self._shape(one)) == size for one in pair))
        first, second = (self._moved(one) for one in pair)
        sign, picked, total = (1, first, second) if self._kind(first) in _PICKS else (-1, second, first)
        classes, heads = self._normaliser(total)
        self._require(heads == {self._head(self._only(picked), classes)})
        self._require(self._takes_one(picked, self._kind(picked), classes))
        return sign

    def _quotient(self, at: At) -> int:
        """The number of classes of exp(logits) / exp(logits).sum()."""
        exponentials, total = self._all(at, 2)
        self._require(self._kind(exponentials) == "Exp" and self._kind(total) == "Sum")
        self._require(self._only(total) == exponentials)
        classes = self._over_one(total, exponentials)
        self._head(self._only(exponentials), classes)
        return classes

    def _normaliser(self, at: At) -> tuple[int, set[Any]]:
        """The number of classes that a logsumexp, or several in a row, are over, and what gave the logits."""
        if self._kind(at) in _JOINS:
            found = [self._normaliser(self._moved(part)) for part in self._all(at)]
            self._require(len({classes for classes, _ in found}) == 1)
            return found[0][0], set().union(*(heads for _, heads in found))
        self._require(self._kind(at) == "Logsumexp")
        below = self._only(at)
        classes = self._over_one(at, below)
        return classes, {self._head(below, classes)}

    def _over_one(self, at: At, below: At) -> int:
        """The length of the one dimension that a sum is over."""
        dims = private(at[0], "_saved_dim")
        self._require(isinstance(dims, tuple) and len(dims) == 1)
        return self._length(below, dims[0])

    def _takes_one(self, at: At, kind: str, classes: int) -> bool:
        below, taken = self._shape(self._only(at)), self._shape(at)
        self.batch_size = self.batch_size or (taken[0] if taken else 1)
        if kind == "Gather":
            return self._length(self._only(at), private(at[0], "_saved_dim")) == classes
        # An index for each dimension: the rows, and the class of each.
        return kind == "Index" and len(below) == len(taken) + 1 and below[-1] == classes

    def _head(self, at: At, classes: int) -> Any:
        """The node that gave these logits: of a layer that has as many outputs as there are classes."""
        at = self._moved(at)
        kind = self._kind(at)
        while kind in ("Add", "Index"):
            parts = self._all(at, 2) if kind == "Add" else [self._only(at)]
            if kind == "Add":  # a bias that is added by hand
                self._require(self._leaf(parts[1]).numel() == classes)
            at = self._moved(parts[0])
            kind = self._kind(at)
        operand = {"Addmm": 2, "Mm": 1, "Linear": 1, "Convolution": 1}.get(kind, -1)
        parents = at[0].next_functions
        self._require(0 <= operand < len(parents))
        weight = self._leaf(self._moved(parents[operand]))
        shape = self._shape(at)
        self._require(len(shape) > 1 and shape[1 if kind == "Convolution" else -1] == classes > 1)
        self._require(self.weight is None or self.weight is weight)
        self.weight, self.classes = weight, classes
        return at[0]

    def _leaf(self, at: At) -> torch.Tensor:
        leaf = getattr(at[0], "variable", None)
        if not isinstance(leaf, torch.Tensor):
            raise _Unlike
        return leaf

    def _moved(self, at: At) -> At:
        """What a chain of moves starts from."""
        while at[0] is not None and self._kind(at) in _MOVES:
            at = self._only(at)
        return at

    def _times(self, below: At, at: At) -> int:
        return math.prod(self._shape(below)) // max(1, math.prod(self._shape(at)))

    def _length(self, at: At, dim: Any) -> int:
        """The length of a dimension, which autograd keeps as an unsigned number."""
        shape = self._shape(at)
        if isinstance(dim, int):
            place = dim - 2**64 if dim >= 2**63 else dim
            if -len(shape) <= place < len(shape):
                return shape[place]
        raise _Unlike

    def _shape(self, at: At) -> tuple[int, ...]:
        """The shape of what a node gave; torch says it to Python since 2.5."""
        node, output = at
        given = private(node, "_input_metadata") or ()
        self._require(output < len(given) and not given[output].is_nested_tensor)
        shape = tuple(given[output].shape)
        self._require(all(isinstance(size, int) for size in shape))
        return shape

    def _kind(self, at: At) -> str:
        """What a node is of: Mean of MeanBackward0. Those of a script's own functions have no number."""
        self.left -= 1
        self._require(self.left > 0 and at[0] is not None)
        return kind_of(at[0].name())

    def _only(self, at: At) -> At:
        return self._all(at, 1)[0]

    def _all(self, at: At, count: int = 0) -> list[At]:
        """What a node was computed from; all of it has to be known, as a constant would be a weight."""
        parents = list(at[0].next_functions)
        self._require(len(parents) == (count or len(parents)) and all(node is not None for node, _ in parents))
        return parents

    def _require(self, holds: bool) -> None:
        if not holds:
            raise _Unlike


def _parents(at: At) -> list[At]:
    return [(node, output) for node, output in at[0].next_functions if node is not None]
