"""Where the sequences of a loss begin and end: read off the shapes, or off the views between model and loss."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from gradaudit.record.internals import private
from gradaudit.record.observe.loss.hand_written import kind_of

_DEEP = 6  # operations between the loss and the outputs of the model
_PASSED = {
    "Clone", "ToCopy", "Alias", "LogSoftmax", "Div", "Mul", "Squeeze", "Unsqueeze", "Contiguous",
}  # fmt: skip
_RESHAPED = {"View", "UnsafeView", "ReshapeAlias", "AsStrided"}


class Layout(NamedTuple):
    """Targets as [first, second], where either may be the positions; `whole` where the last output has a target."""

    first: int
    second: int
    classes_inside: bool  # the input is [first, classes, second], and its second axis the positions
    whole: bool = True


def of_shapes(input: torch.Tensor, target: torch.Tensor) -> Layout | None:
    """The layout where the loss itself is given sequences: [N, classes, positions] and [N, positions]."""
    if input.ndim == 3 and target.ndim == 2 and tuple(target.shape) == (input.shape[0], input.shape[2]):
        return Layout(target.shape[0], target.shape[1], True)
    return None


def of_views(input: torch.Tensor, target: torch.Tensor) -> tuple[Layout | None, bool]:
    """The layout of outputs [N * positions, classes] from what they were before; whether a compiled region hides it."""
    rows, found, whole, hidden = input.shape[0], None, True, False
    for kind, sizes, cut in _before(input):
        whole, hidden = whole and not cut, kind.startswith("CompiledFunction")
        if found is None and len(sizes) == 3 and sizes[0] * sizes[1] == rows:
            found = (sizes[0], sizes[1])
    for tensor, dimensions in ((target, 2), (input, 3)):
        base = private(tensor, "_base") if found is None else None
        if base is not None and base.ndim == dimensions and base.shape[0] * base.shape[1] == rows:
            found = (base.shape[0], base.shape[1])
    if found is None:
        return None, hidden
    return Layout(*found, False, whole), False


def _before(tensor: torch.Tensor) -> Iterator[tuple[str, Sequence[int], bool]]:
    """The operations that a tensor comes from: name, shape of what a view was given, and whether it drops the end."""
    node: Any = tensor.grad_fn
    for _ in range(_DEEP):
        if node is None:
            return
        kind = kind_of(node.name()) or node.name()
        sizes = private(node, "_saved_self_sym_sizes") or ()
        sizes = sizes if all(isinstance(size, int) for size in sizes) else ()
        if kind == "Slice":
            yield kind, (), _drops_the_last(node, sizes)
        else:
            yield kind, sizes if kind in _RESHAPED else (), False
        if kind not in _PASSED and kind not in _RESHAPED and kind not in ("Slice", "Addmm", "Mm"):
            return
        # Of a product with a weight, the operand that holds the examples.
        parents = [parent for parent, _ in node.next_functions]
        place = 1 if kind == "Addmm" and len(parents) > 1 else 0
        node = parents[place] if parents else None


def _drops_the_last(node: Any, sizes: Sequence[int]) -> bool:
    dim, end = private(node, "_saved_dim"), private(node, "_saved_end")
    if not isinstance(dim, int) or not isinstance(end, int) or dim not in (0, 1) or len(sizes) != 3:
        return False
    end = end - 2**64 if end >= 2**63 else end  # a negative number is kept as an unsigned one
    return end < 0 or end < sizes[dim]


def remembered(layout: Layout, rows: int) -> Layout | None:
    """The layout of an evaluation whose outputs were flattened: as in training, with another number of sequences."""
    if layout.classes_inside or rows % layout.second:
        return None
    return layout._replace(first=rows // layout.second)


def fits(layout: Layout, input: torch.Tensor, target: torch.Tensor) -> bool:
    """Whether the layout has as many targets as there are."""
    return layout.first * layout.second == target.numel() == math.prod(input.shape) // max(1, input.shape[1])
