"""The activation that a prediction comes from: read off the autograd graph behind the input of a loss, or off the graph
that the compiler made."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

from gradaudit.record.internals import private
from gradaudit.record.observe.loss.graph_values import sizes_of
from gradaudit.record.observe.loss.hand_written import kind_of

_DEEP = 8  # operations between the activation and the loss
# What leaves the range of the numbers, and the sums of their rows, as they are.
_MOVES = {
    "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Transpose", "Permute", "T", "Clone", "ToCopy",
    "Alias",
}  # fmt: skip
_BOUNDED = {
    "Softmax": "softmax", "LogSoftmax": "log_softmax", "Sigmoid": "sigmoid", "Tanh": "tanh", "Relu": "relu",
}  # fmt: skip
_MOVES_IN_GRAPH = {
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "permute", "movedim", "t", "contiguous", "clone",
    "to", "float", "double", "half", "bfloat16", "view_as", "reshape_as", "ravel", "swapaxes",
}  # fmt: skip


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


def last_in_graph(graph: GraphModule, prediction: Node) -> tuple[str | None, int]:
    """The same of a loss inside a compiled graph."""
    node: Any = prediction
    for _ in range(_DEEP):
        if not isinstance(node, Node) or node.op in ("placeholder", "get_attr"):
            return None, 0
        name = _name_in_graph(graph, node)
        if name in _BOUNDED.values():
            return name, _length_in_graph(graph, node) if name == "softmax" else 0
        if name not in _MOVES_IN_GRAPH:
            return "", 0
        node = node.args[0] if node.args else None
    return None, 0


def _name_in_graph(graph: GraphModule, node: Node) -> str:
    """What a node calls: the name of a function or a method, or a module's class in lower case."""
    if node.op == "call_module" and isinstance(node.target, str):
        return type(graph.get_submodule(node.target)).__name__.lower()
    return (node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")).rstrip("_")


def _length_in_graph(graph: GraphModule, node: Node) -> int:
    """The length of the dimension that a softmax is over; 0 where it is not known before it runs."""
    sizes = sizes_of(node)
    dim: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    if node.op == "call_module" and isinstance(node.target, str):
        dim = getattr(graph.get_submodule(node.target), "dim", None)
    known = isinstance(dim, int) and -len(sizes) <= dim < len(sizes)
    return max(0, sizes[dim]) if known else 0
