"""The losses inside a compiled graph: found in the graph when it is compiled, read off its outputs when it runs.

The graph, its guards and its code stay as they are. Known are the function and its options, from the graph; the value,
where the graph returns it or a multiple of it; and the targets, where they are views of what goes in or comes out.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple

import torch
from torch.fx import GraphModule, Node

from gradaudit.record.observe.loss.calls import arguments_of
from gradaudit.record.observe.loss.graph_values import (
    DEEP,
    At,
    changes_integers,
    evaluate,
    holds_floats,
    recipe,
    shape_of,
    sizes_of,
)
from gradaudit.record.observe.loss.labels import CLASSIFICATION
from gradaudit.record.observe.loss.last_operation import last_in_graph
from gradaudit.record.observe.loss.losses import FUNCTIONS, has_value

# What torch.nn.functional calls, which newer compilers find instead: its name there, and its arguments in order.
_OPERATORS = {
    "cross_entropy_loss": ("cross_entropy", "input target weight reduction ignore_index label_smoothing"),
    "nll_loss_nd": ("nll_loss", "input target weight reduction ignore_index"),
    "binary_cross_entropy": ("binary_cross_entropy", "input target weight reduction"),
    "binary_cross_entropy_with_logits": (
        "binary_cross_entropy_with_logits",
        "input target weight pos_weight reduction",
    ),
    "mse_loss": ("mse_loss", "input target reduction"),
    "l1_loss": ("l1_loss", "input target reduction"),
    "smooth_l1_loss": ("smooth_l1_loss", "input target reduction beta"),
    "huber_loss": ("huber_loss", "input target reduction delta"),
    "kl_div": ("kl_div", "input target reduction"),
}
# Older ones keep the module of a loss as a node of its own.
_MODULES = {
    "CrossEntropyLoss": "cross_entropy", "NLLLoss": "nll_loss", "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits", "MSELoss": "mse_loss", "L1Loss": "l1_loss",
    "SmoothL1Loss": "smooth_l1_loss", "HuberLoss": "huber_loss", "KLDivLoss": "kl_div",
}  # fmt: skip
_OPTIONS = ("weight", "pos_weight", "reduction", "ignore_index", "label_smoothing", "size_average", "reduce")
_REDUCTIONS = ("none", "mean", "sum")

_SAME = {"float", "double", "half", "bfloat16", "to", "clone", "contiguous", "squeeze", "view", "reshape", "flatten"}


class Unseen(Exception):
    """Why a loss cannot be read."""


@dataclass(frozen=True, eq=False)
class GraphLoss:
    """A loss function in a graph: what is to be read when the graph has run. Holds no part of the graph."""

    name: str
    output: int
    factors: list[Any]  # the output times these is the loss
    call: dict[str, Any]  # its arguments; input and target are None where they are not to be had
    classes: int  # the length of the input's dimension of classes; 0 when it has none, -1 when it is not known
    shape: list[int] | None  # of the input
    target_shape: list[int] | None
    soft: bool  # the targets are floats
    activation: tuple[str | None, int] = (None, 0)  # as `last_operation` gives it


class Reading(NamedTuple):
    """One loss as `StepObserver.on_loss` takes it."""

    name: str
    result: torch.Tensor
    call: dict[str, Any]
    value: torch.Tensor | None  # of the loss, where `result` is a multiple of it
    input_known: bool
    target_known: bool
    activation: tuple[str | None, int]


def losses_of(graph: GraphModule, tell: Callable[[str], None]) -> list[GraphLoss]:
    """The losses of a graph that can be read when it runs; `tell` is told of each one that cannot."""
    nodes = list(graph.graph.nodes)
    calls = [(node, called) for node in nodes if (called := _called(graph, node)) is not None]
    if not calls:
        return []
    returned = next((node.args[0] for node in reversed(nodes) if node.op == "output"), ())
    outputs = {item: index for index, item in enumerate(returned) if isinstance(item, Node)}
    known = {item: At(True, index) for item, index in outputs.items()}
    known |= {item: At(False, index) for index, item in enumerate(n for n in nodes if n.op == "placeholder")}
    if any(changes_integers(node) for node in nodes):
        known = {item: at for item, at in known.items() if holds_floats(item)}
    found = []
    for node, (name, call) in calls:
        try:
            found.append(_loss(graph, node, name, call, outputs, known))
        except Unseen as reason:
            place = _place(node)
            tell(f"{name}{place} is inside a compiled region and was not seen: {reason}; {_ENABLE}")
    return found


_ENABLE = "return the loss from the compiled function, or compute it outside of it"


def readings(found: Sequence[GraphLoss], inputs: Sequence[Any], outputs: Any) -> Iterator[Reading]:
    """The losses of one run of a graph."""
    if not isinstance(outputs, tuple | list):
        outputs = (outputs,)
    for loss in found:
        result = outputs[loss.output] if loss.output < len(outputs) else None
        if type(result) is not torch.Tensor or not has_value(result):
            continue
        with torch.no_grad():
            call = {name: evaluate(value, inputs, outputs) for name, value in loss.call.items()}
            target, input = call["target"], call["input"]
            target_known, input_known = isinstance(target, torch.Tensor), isinstance(input, torch.Tensor)
            if not target_known:
                kind = result.dtype if loss.soft else torch.int64
                call["target"] = target = _stand_in(result, loss.target_shape or [], kind)
            if not input_known:
                call["input"] = _stand_in(result, _shape_of_input(loss, target, target_known), result.dtype)
            value = None
            for factor in loss.factors:
                amount = call["target"].numel() if factor is _MEAN else evaluate(factor, inputs, outputs)
                value = (result.detach() if value is None else value) * amount
        yield Reading(loss.name, result, call, value, input_known, target_known, loss.activation)


_MEAN = object()  # the factor of a mean over all elements


def _shape_of_input(loss: GraphLoss, target: torch.Tensor, target_known: bool) -> Sequence[int]:
    if loss.shape is not None:
        return loss.shape
    shape = list(target.shape)
    return [*shape[:1], loss.classes, *shape[1:]] if loss.classes > 0 and not loss.soft else shape


def _stand_in(like: torch.Tensor, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """A tensor of this shape that takes no memory."""
    return torch.zeros((), dtype=dtype, device=like.device).expand(list(shape))


def _loss(
    graph: GraphModule, node: Node, name: str, call: dict[str, Any], outputs: dict[Node, int], known: dict[Node, At]
) -> GraphLoss:
    way = _returned(node, outputs, graph, known, DEEP)
    if way is None:
        raise Unseen("the compiled function does not return it")
    output, factors = way
    input, target = (_before_broadcast(call[key]) for key in ("input", "target"))
    if not isinstance(input, Node) or not isinstance(target, Node):
        raise Unseen("its input is no tensor of the graph")
    read: dict[str, Any] = {}
    for key in _OPTIONS:
        if key not in call:
            continue
        value = call[key]
        read[key] = recipe(value, graph, known) if isinstance(value, Node) else value
        if isinstance(value, Node) and (read[key] is None or key not in ("weight", "pos_weight")):
            raise Unseen(f"its {key} is computed inside")
    shape, target_shape, soft = shape_of(input), shape_of(target), holds_floats(target)
    classes = 0
    read["input"], read["target"] = recipe(input, graph, known), recipe(target, graph, known)
    if name in CLASSIFICATION:
        sizes = sizes_of(input)
        classes = sizes[min(1, len(sizes) - 1)] if sizes else -1
    if read["input"] is None and (classes < 0 or (read["target"] is None and (shape is None or target_shape is None))):
        raise Unseen("its shape is not known before it runs")
    if read["target"] is None and (
        target_shape is None or (read.get("weight") is not None and call["reduction"] != "mean")
    ):
        raise Unseen("its targets are computed inside")
    activation = last_in_graph(graph, input)
    return GraphLoss(name, output, factors, read, classes, shape, target_shape, soft, activation)


def _called(graph: GraphModule, node: Node) -> tuple[str, dict[str, Any]] | None:
    """The loss function that a node calls and its arguments; None when it calls none."""
    target = node.target
    if node.op == "call_module" and isinstance(target, str):
        module: Any = graph.get_submodule(target)
        function = _MODULES.get(type(module).__name__)
        if function is None or type(module).__module__ != "torch.nn.modules.loss" or len(node.args) < 2:
            return None
        options = {name: getattr(module, name) for name in _OPTIONS if hasattr(module, name)}
        return function, {**options, "input": node.args[0], "target": node.args[1]}
    name = getattr(target, "__name__", "")
    if node.op != "call_function":
        return None
    if isinstance(target, FunctionType) and target.__module__ == "torch.nn.functional" and name in FUNCTIONS:
        return name, arguments_of(target)(node.args, dict(node.kwargs))
    if isinstance(target, BuiltinFunctionType) and name in _OPERATORS:
        function, names = _OPERATORS[name]
        call: dict[str, Any] = {"reduction": 1, **dict(zip(names.split(), node.args, strict=False)), **node.kwargs}
        if "ignore_index" in names:
            call.setdefault("ignore_index", -100)
        if isinstance(call["reduction"], int):
            call["reduction"] = _REDUCTIONS[call["reduction"]]
        return function, call
    return None


def _returned(
    node: Node, outputs: Mapping[Node, int], graph: GraphModule, known: dict[Node, At], left: int
) -> tuple[int, list[Any]] | None:
    """The output that is this node or a multiple of it, and the factors that lead back."""
    if node in outputs:
        return outputs[node], []
    for user in node.users if left else ():
        factor = _factor(node, user, graph, known)
        further = _returned(user, outputs, graph, known, left - 1) if factor is not None else None
        if further is not None:
            return further[0], further[1] + ([] if factor == 1 else [factor])
    return None


def _factor(node: Node, user: Node, graph: GraphModule, known: dict[Node, At]) -> Any:
    """What `user` has to be multiplied by to be `node` again, or its sum; None where that is not known."""
    name = user.target if isinstance(user.target, str) else getattr(user.target, "__name__", "")
    if user.op not in ("call_method", "call_function") or not user.args:
        return None
    arguments = user.args[::-1] if name == "mul" and len(user.args) == 2 and user.args[1] is node else user.args
    if arguments[0] is not node:
        return None
    if name in _SAME or (name == "sum" and len(user.args) == 1 and not user.kwargs):
        return 1
    if name == "mean" and len(user.args) == 1 and not user.kwargs:
        return 1 if not sizes_of(node) and shape_of(node) == [] else _MEAN
    if name in ("truediv", "div", "true_divide", "mul") and len(user.args) == 2 and not user.kwargs:
        other = recipe(arguments[1], graph, known)
        if name != "mul":
            return other
        return 1 / other if isinstance(other, int | float) and other else None
    return None


def _before_broadcast(node: Any) -> Any:
    """What torch.broadcast_tensors stretched, as the losses of regression do first."""
    if isinstance(node, Node) and getattr(node.target, "__name__", "") == "getitem" and isinstance(node.args[0], Node):
        stretched, index = node.args[0], node.args[1]
        if getattr(stretched.target, "__name__", "") == "broadcast_tensors" and isinstance(index, int):
            given = stretched.args[0] if len(stretched.args) == 1 else stretched.args
            return given[index] if isinstance(given, tuple | list) else node
    return node


def _place(node: Node) -> str:
    """Where in the source a node was called: ' at train.py:12'."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', str(node.meta.get("stack_trace") or ""))
    frames = [(file, line) for file, line in frames if "/torch/" not in file and "/gradaudit/" not in file]
    return f" at {PurePath(frames[-1][0]).name}:{frames[-1][1]}" if frames else ""
