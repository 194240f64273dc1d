"""What lies before a loss: the function that it is, the operations before it, and what was stretched for its mean."""

from typing import Any, NamedTuple

from gradaudit.record.observe.graph.nodes import (
    ELEMENTWISE,
    LAYERS,
    SAME,
    VIEWS,
    Shape,
    axis_of,
    is_own,
    parents_of,
    shape_of,
)
from gradaudit.record.observe.loss.hand_written import kind_of

DEEP = 16  # operations kept before a loss
_MOST_NODES = 64  # of one mean's element-wise operations
FUNCTIONS = {
    "NllLoss": "nll_loss", "NllLossNd": "nll_loss", "NllLoss2D": "nll_loss", "MseLoss": "mse_loss",
    "BinaryCrossEntropy": "binary_cross_entropy",
    "BinaryCrossEntropyWithLogits": "binary_cross_entropy_with_logits",
    "SmoothL1Loss": "smooth_l1_loss", "HuberLoss": "huber_loss", "KlDiv": "kl_div",
    "SoftMarginLoss": "soft_margin_loss", "MultiMarginLoss": "multi_margin_loss", "CtcLoss": "ctc_loss",
    "Mean": "mean", "Sum": "sum",
}  # fmt: skip
_SOFTMAX = ("Softmax", "LogSoftmax")
# What chooses among probabilities, or takes their logarithm: the softmax before is still the last thing before a loss.
_CHOICES = {*VIEWS, *SAME, "Log", "Gather", "Index", "Neg", "Clamp", "Squeeze", "Unsqueeze", "NllLoss", "NllLoss2D",
            "Mean", "Sum", "BinaryCrossEntropy", "KlDiv", "MseLoss", "SmoothL1Loss", "HuberLoss"}  # fmt: skip


class Operation(NamedTuple):
    """One operation on the way from a loss down, with the node that it is read from."""

    kind: str
    shape: Shape | None
    axis: int | None
    node: Any


def operations_before(node: Any) -> list[Operation]:
    """The loss, and the operations before it along its first operand that has a gradient."""
    found: list[Operation] = []
    output = 0
    while node is not None and len(found) <= DEEP:
        name = node.name()
        kind = kind_of(name) or (name.partition("Backward")[0] if is_own(name) else "")
        if not kind:
            break
        shape = shape_of(node, output)
        axis = axis_of(node, len(shape)) if shape and kind in _SOFTMAX else None
        found.append(Operation(kind, shape, axis, node))
        parents = parents_of(node)
        if not parents or is_own(name):
            break
        node, output = parents[0]
    return found


def last_softmax(operations: list[Operation]) -> tuple[Any, int] | None:
    """The softmax that a loss takes its probabilities from, and the first dimension of what the loss was given."""
    for operation in operations:
        if operation.kind in _SOFTMAX:
            return (operation.node, operation.shape[0]) if operation.shape else None
        if operation.kind not in _CHOICES:
            return None
    return None


def class_view(operations: list[Operation]) -> Any:
    """The view whose last axis a loss takes its classes along; None where there is none."""
    kinds = [operation.kind for operation in operations]
    if not kinds or kinds[0] not in ("NllLoss", "BinaryCrossEntropyWithLogits", "BinaryCrossEntropy"):
        return None
    for operation in operations[1:]:
        if operation.kind in VIEWS:
            return operation.node
        if operation.kind not in _SOFTMAX and operation.kind not in SAME:
            return None
    return None


def stretched_before(node: Any) -> tuple[Shape, Shape] | None:
    """The (N) or (N, 1) and the (N, N) that it was stretched to, where all of the latter is averaged or summed.

    Only where every number of the square comes of such: one that is a product of all with all, or was given another
    axis on purpose, is meant.
    """
    node = _behind_scalars(node)
    while kind_of(node.name()) in ("Mean", "Sum"):
        parents = parents_of(node)
        if len(parents) != 1:
            return None
        node, output = parents[0]
        square = shape_of(node, output)
        if square is None or len(square) > 2:
            return None
        if len(square) == 2:
            return _stretched(node, square) if square[0] == square[1] > 1 else None
    return None


def _behind_scalars(node: Any) -> Any:
    """The mean or sum that a scalar is computed from by arithmetic with numbers, as by the root of an RMSE."""
    for _ in range(_MOST_NODES):
        parents = parents_of(node)
        if shape_of(node) != () or kind_of(node.name()) not in (*ELEMENTWISE, *SAME) or len(parents) != 1:
            break
        node = parents[0][0]
    return node


def _stretched(node: Any, square: Shape) -> tuple[Shape, Shape] | None:
    size = square[0]
    found: set[Shape] = set()
    queue, seen = [node], {node}
    while queue:
        node = queue.pop()
        parents = parents_of(node)
        if kind_of(node.name()) not in ELEMENTWISE or not parents or len(seen) > _MOST_NODES:
            return None
        for parent, output in parents:
            shape = shape_of(parent, output)
            if shape == square:
                if parent not in seen:
                    seen.add(parent)
                    queue.append(parent)
            elif shape == (size,) or (shape in ((size, 1), (1, size)) and _is_of_a_layer(parent)):
                found.add(shape)
            elif shape is None or any(one != 1 for one in shape):
                return None
    return (min(found, key=len), square) if found else None


def _is_of_a_layer(node: Any) -> bool:
    """Whether a column came out of a layer as it is, and was not made one."""
    while True:
        kind = kind_of(node.name())
        if kind in LAYERS:
            return True
        parents = parents_of(node)
        if len(parents) != 1 or kind not in ELEMENTWISE:
            return False
        node = parents[0][0]
