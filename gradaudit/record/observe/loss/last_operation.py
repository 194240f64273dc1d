"""The activation that a prediction comes from: read off the autograd graph behind the input of a loss."""

from typing import Any

import torch

from gradaudit.record.internals import private
from gradaudit.record.observe.loss.hand_written import kind_of

_DEEP = 8  # operations between the activation and the loss
# What leaves the range of the numbers, and the sums of their rows, as they are.
_MOVES = {
    "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Transpose", "Permute", "T", "Clone", "ToCopy",
    "Alias",
}  # fmt: skip
_BOUNDED = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu"}


def last_operation(prediction: torch.Tensor) -> tuple[str | None, int]:
    """The activation, and how many numbers a softmax is over; an empty name of another operation, None if unknown."""
    node: Any = prediction.grad_fn
    output = prediction.output_nr
    for _ in range(_DEEP):
        kind = kind_of(node.name()) if node is not None else ""
        if kind in _BOUNDED:
            return _BOUNDED[kind], _length(node, output) if kind == "Softmax" else 0
        if kind not in _MOVES:
            # A compiled region is one node, which does not say how it ends.
            return ("" if kind else None), 0
        node, output = node.next_functions[0]
    return None, 0


def _length(node: Any, output: int) -> int:
    """The length of the dimension that a softmax is over; 0 where torch does not say it."""
    given, dim = private(node, "_input_metadata") or (), private(node, "_saved_dim")
    if output >= len(given) or given[output].is_nested_tensor or not isinstance(dim, int):
        return 0
    shape = given[output].shape
    # A negative dimension is kept as an unsigned number.
    length = shape[dim - 2**64 if dim >= 2**63 else dim]
    return length if isinstance(length, int) else 0
