"""What an autograd node says of itself without a saved tensor: its kind, the shapes it gave and took, and its axes."""

import math
from typing import Any

import torch

from gradaudit.record.internals import private
from gradaudit.record.observe.loss.hand_written import kind_of

Shape = tuple[int, ...]

VIEWS = {"View", "UnsafeView", "ReshapeAlias"}
# What gives the same numbers, or some of them, without an arithmetic of their axes.
SAME = {"Clone", "ToCopy", "Alias", "NativeDropout", "Dropout"}
LAYERS = {"Addmm", "Mm", "Baddbmm", "Convolution", "NativeLayerNorm", "Linear"}
ELEMENTWISE = {
    "Abs", "Add", "Celu", "Clamp", "Clone", "Div", "Elu", "Erf", "Exp", "Expm1", "Gelu", "HardTanh", "Hardtanh",
    "LeakyRelu", "Log", "Log1P", "LogSigmoid", "LogSigmoidForward", "Maximum", "Minimum", "Mul", "Neg", "Pow",
    "Reciprocal", "Relu", "Rsqrt", "Rsub", "Sigmoid", "Silu", "Softplus", "Sqrt", "Square", "Sub", "Tanh", "ToCopy",
    "Where", "XlogY", "MaskedFill",
}  # fmt: skip


def parents_of(node: Any) -> list[tuple[Any, int]]:
    """The nodes with a gradient that a node was computed from, each with the number of its output."""
    return [(parent, output) for parent, output in node.next_functions if parent is not None]


def shape_of(node: Any, output: int = 0) -> Shape | None:
    """The shape of what a node gave; None where torch does not say it."""
    given = private(node, "_input_metadata") or ()
    return _plain(given[output].shape) if output < len(given) and not given[output].is_nested_tensor else None


def shape_before(node: Any) -> Shape | None:
    """The shape of what a view, a mean or a sum was taken of."""
    return _plain(private(node, "_saved_self_sym_sizes"))


def _plain(sizes: Any) -> Shape | None:
    found = tuple(sizes) if sizes is not None else (None,)
    return found if all(type(size) is int for size in found) else None


def axis_of(node: Any, dimensions: int) -> int | None:
    """The axis that a softmax, or a squeeze, is over, from the front."""
    return signed(private(node, "_saved_dim"), dimensions)


def signed(axis: Any, dimensions: int) -> int | None:
    """An axis as autograd keeps it, as an unsigned number, from the front; None of any that is not there."""
    if type(axis) is not int:
        return None
    place = axis - 2**64 if axis >= 2**63 else axis
    place = place + dimensions if place < 0 else place
    return place if 0 <= place < dimensions else None


def is_own(name: str) -> bool:
    """Whether a node is of a function that Python made: a script's own, a checkpoint, or a compiled region."""
    return not kind_of(name) and "::" not in name


def is_compiled(name: str) -> bool:
    """Whether a node is a compiled region."""
    return name.startswith("CompiledFunction")


def plain_number(value: Any) -> float | None:
    """A number that a node keeps as it is; None of any other thing."""
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def saved_number(node: Any, name: str) -> float | None:
    """The number that a node multiplies with or divides by; None where it is on a device, or no single one.

    Nothing is unpacked: that runs the hooks of whoever packed it, such as a checkpoint's.
    """
    saved = private(node, name)
    if saved is None or getattr(saved, "unpack_hook", saved) is not None:
        return None
    held = getattr(saved, "data", None)
    if type(held) is not torch.Tensor or not held.is_cpu or held.numel() != 1 or held.requires_grad:
        return None
    # A plain number is a tensor that `item` refuses under a dispatch mode.
    return plain_number(held.tolist()) if held.ndim == 0 and not held.is_complex() else None
