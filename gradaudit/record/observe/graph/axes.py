"""Which axis is which: the axis of a softmax against the one that is summed after it, and views that mix axes up."""

import functools
import math
from typing import Any, NamedTuple

from gradaudit.record.internals import private
from gradaudit.record.observe.graph.nodes import (
    ELEMENTWISE,
    SAME,
    VIEWS,
    Shape,
    axis_of,
    parents_of,
    shape_before,
    shape_of,
    signed,
)
from gradaudit.record.observe.loss.hand_written import kind_of

_DEEP = 12  # operations between two that belong together
_SOURCES = {
    "Convolution": "convolution", "MkldnnRnnLayer": "recurrent", "CudnnRnn": "recurrent", "MiopenRnn": "recurrent",
    "Stack": "recurrent", "Addmm": "linear", "Mm": "linear", "Linear": "linear", "NativeLayerNorm": "norm",
    "NativeBatchNorm": "convolution", "CudnnBatchNorm": "convolution", "MiopenBatchNorm": "convolution",
    "NativeGroupNorm": "convolution",
    "MaxPool2DWithIndices": "convolution", "AvgPool2D": "convolution", "Embedding": "embedding",
}  # fmt: skip


class Softmax(NamedTuple):
    """One softmax."""

    kind: str
    shape: Shape
    axis: int
    scores: bool
    summed: int | None


class View(NamedTuple):
    """A view that reads the numbers of one axis as those of another."""

    before: Shape
    after: Shape
    source: str
    fault: str


def softmax_at(node: Any, kind: str, summed: int | None = None) -> Softmax | None:
    """What a softmax says; `summed` is the axis of its result that a product sums over."""
    shape = shape_of(node)
    axis = axis_of(node, len(shape)) if shape else None
    if shape is None or axis is None:
        return None
    return Softmax("log_softmax" if kind == "LogSoftmax" else "softmax", shape, axis, _are_scores(node), summed)


def summed_softmax(node: Any, first: bool) -> tuple[Any, int] | None:
    """The softmax that a batched product multiplies with, and the axis of it that the product sums over.

    None where anything but views and dropout lies between: weights that are normalised once more are meant so.
    """
    operands = node.next_functions
    if len(operands) != 2:
        return None
    at, output = operands[0 if first else 1]
    axis: int | None = 2 if first else 1
    for _ in range(_DEEP):
        if at is None or axis is None:
            return None
        kind = kind_of(at.name())
        if kind == "Softmax":
            return at, axis
        axis = _axis_before(at, output, kind, axis)
        parents = parents_of(at)
        if len(parents) != 1:
            return None
        at, output = parents[0]
    return None


def _axis_before(node: Any, output: int, kind: str, axis: int) -> int | None:
    """The axis of what a node was computed from that became `axis` of what it gave."""
    if kind in SAME or kind in ("Mul", "Expand"):  # dropout multiplies with a mask
        return axis
    after = shape_of(node, output)
    if after is None:
        return None
    if kind == "Transpose":
        pair = [signed(private(node, name), len(after)) for name in ("_saved_dim0", "_saved_dim1")]
        return pair[1 - pair.index(axis)] if axis in pair else axis
    if kind == "Permute":
        dims = private(node, "_saved_dims")
        return signed(dims[axis], len(after)) if isinstance(dims, tuple) and axis < len(dims) else None
    if kind == "Unsqueeze":
        added = axis_of(node, len(after))
        return None if added is None or added == axis else axis - (axis > added)
    if kind in VIEWS:
        before = shape_before(node)
        return None if before is None else _same_axis(before, after, axis)
    return None


def _same_axis(before: Shape, after: Shape, axis: int) -> int | None:
    """The axis of a shape that a view left as it is."""
    behind = math.prod(after[axis + 1 :])
    for place, size in enumerate(before):
        if size == after[axis] and math.prod(before[place + 1 :]) == behind:
            return place
    return None


def _are_scores(node: Any) -> bool:
    """Whether what a softmax is of are products of activations with activations."""
    for _ in range(_DEEP):
        parents = parents_of(node)
        if not parents:
            return False
        node = parents[0][0]
        kind = kind_of(node.name())
        if kind in ("Bmm", "Baddbmm"):
            pair = node.next_functions[-2:]
            return all(one is not None and not _is_leaf(one) for one, _ in pair)
        if kind not in VIEWS and kind not in SAME and kind not in ("Mul", "Div", "Add", "MaskedFill", "Where", "Sub"):
            return False
    return False


def _is_leaf(node: Any) -> bool:
    """Whether a node gives a parameter, transposed or viewed."""
    for _ in range(_DEEP):
        if getattr(node, "variable", None) is not None:
            return True
        parents = parents_of(node)
        if len(parents) != 1 or kind_of(node.name()) not in (*VIEWS, *SAME, "Transpose", "T", "Permute", "Expand"):
            return False
        node = parents[0][0]
    return False


def view_at(node: Any) -> View | None:
    """What a view mixes up; None where it only merges or splits axes, or where it is not known what it is of."""
    before, after = shape_before(node), shape_of(node)
    if before is None or after is None or len(before) < 2 or len(after) < 2 or before == after:
        return None
    fault = _fault(before, after)
    source = _source(node) if fault else ""
    if fault == "channels" and source != "convolution":
        fault = "axes" if sorted(before) == sorted(after) else ""
    if not source or not fault or (fault == "heads" and source != "linear"):
        return None
    return View(before, after, source, fault)


def scan_at(node: Any, kind: str) -> View | None:
    """The ids' embedding [steps, others, features] that a recurrent layer runs along, with no axis moved between."""
    if kind == "Unbind" and private(node, "_saved_dim") != 0:
        return None
    given = private(node, "_input_metadata") or ()
    sizes = shape_of(node)
    steps = len(given) if kind == "Unbind" else sizes[0] if sizes else 0
    for _ in range(_DEEP):
        parents = [one for one in parents_of(node) if not _is_leaf(one[0])]
        if not parents:
            return None
        node = parents[0][0]
        below = kind_of(node.name())
        if below == "Embedding":
            shape = shape_of(node)
            known = shape is not None and len(shape) == 3 and shape[0] == steps
            return View(shape, shape, "recurrent", "scan") if known and shape is not None else None
        if below not in (*VIEWS, *SAME, "Add", "Addmm", "Mm", "Mul"):
            return None
    return None


@functools.lru_cache(maxsize=4096)
def _fault(before: Shape, after: Shape) -> str:
    """Which axes a view reads as others; empty where none or where it may be meant."""
    old, new = (tuple(size for size in shape if size != 1) for shape in (before, after))
    if len(old) > 2 and new in ((old[0] * math.prod(old[2:]), old[1]), (old[0], math.prod(old[2:]), old[1])):
        # (N, C, H, W) as (N H W, C): of as many positions as channels nothing is known.
        return "channels" if len(before) > 2 and before[1] == after[-1] and not _clean(old, new) else ""
    if len(old) == len(new) > 1 and sorted(old) == sorted(new) and old != new:
        return "axes"
    if len(old) == 3 and new == (old[1], old[0] * old[2]) and old[0] != old[1]:
        return "axes"  # (layers, N, H) as (N, layers H)
    if len(old) == 3 and len(new) == 4 and (old[0], old[1]) == (new[0], new[2]) and new[1] * new[3] == old[2]:
        return "heads" if new[1] != new[2] else ""  # (B, T, E) as (B, heads, T, d)
    return ""


def _clean(old: Shape, new: Shape) -> bool:
    """Whether the last axis of both is the same one."""
    return old[-1] == new[-1] and len(old) <= len(new)


def _source(node: Any) -> str:
    """The layer that gave what a view is of, up to element-wise operations and views that keep its axes."""
    for _ in range(_DEEP):
        parents = parents_of(node)
        if not parents:
            return ""
        node = parents[0][0]
        kind = kind_of(node.name())
        if kind in _SOURCES:
            return _SOURCES[kind]
        if kind == "Transpose":  # with batch_first
            inner = parents_of(node)
            of = _SOURCES.get(kind_of(inner[0][0].name()), "") if inner else ""
            return of if of == "recurrent" else ""
        if kind in VIEWS:
            # (N T, C) of a layer as (N, T, C).
            before, after = shape_before(node), shape_of(node)
            if before is None or after is None or before[-1] != after[-1]:
                return ""
        elif kind not in SAME and kind not in ELEMENTWISE:
            return ""
    return ""
