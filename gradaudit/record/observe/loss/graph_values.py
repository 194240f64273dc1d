"""Values of a compiled graph that are had again when it has run: inputs, outputs, and views of them."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType
from typing import Any, NamedTuple

import torch
from torch.fx import GraphModule, Node

from gradaudit.record.internals import private

# Operations that are done again on targets and logits: views, casts and padding, none of which waits for a device.
_AGAIN = {
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "contiguous", "to", "long", "int", "float", "double", "half",
    "bfloat16", "transpose", "permute", "movedim", "narrow", "t", "expand", "expand_as", "view_as", "reshape_as",
    "detach", "type", "type_as", "size", "getitem", "pad", "ravel", "swapaxes", "select", "chunk", "split",
}  # fmt: skip
DEEP = 24  # operations between a value and what goes into the graph or comes out of it
_PLAIN = (int, float, str, bool, EllipsisType, torch.dtype, torch.device, torch.memory_format, type(None))


class At(NamedTuple):
    """An input of the graph, or one of its outputs."""

    output: bool
    place: int


class Again(NamedTuple):
    """An operation to be done again."""

    operation: Callable[..., Any] | str
    arguments: tuple[Any, ...]
    options: dict[str, Any]


def recipe(value: Any, graph: GraphModule, known: Mapping[Node, At], left: int = DEEP) -> Any:
    """How a value of the graph is had again when it has run; None where that is not known."""
    if isinstance(value, _PLAIN):
        return value
    if not isinstance(value, Node) or not left:
        return None
    if value in known:
        return known[value]
    if value.op == "get_attr" and isinstance(value.target, str):
        held: Any = graph
        for name in value.target.split("."):
            held = getattr(held, name, None)
        return weakref.ref(held) if isinstance(held, torch.Tensor) else None
    name = value.target if isinstance(value.target, str) else getattr(value.target, "__name__", "")
    if value.op not in ("call_method", "call_function") or name not in _AGAIN:
        return None
    parts = [*value.args, *value.kwargs.values()]
    made = [
        _part(part, graph, known, left - 1, index=name == "getitem" and place > 0) for place, part in enumerate(parts)
    ]
    if any(part is None and given is not None for part, given in zip(made, parts, strict=True)):
        return None
    count = len(value.args)
    return Again(value.target, tuple(made[:count]), dict(zip(value.kwargs, made[count:], strict=True)))


def _part(part: Any, graph: GraphModule, known: Mapping[Node, At], left: int, *, index: bool) -> Any:
    """An argument of an operation that is done again; an index by a tensor would wait for the device."""
    if isinstance(part, tuple | list):
        made = [_part(item, graph, known, left, index=index) for item in part]
        lost = any(new is None and old is not None for new, old in zip(made, part, strict=True))
        return None if lost else tuple(made)
    if isinstance(part, slice):
        ends = [_part(end, graph, known, left, index=index) for end in (part.start, part.stop, part.step)]
        lost = any(n is None and o is not None for n, o in zip(ends, (part.start, part.stop, part.step), strict=True))
        return None if lost else Again(slice, tuple(ends), {})
    if index and isinstance(part, Node) and isinstance(private(part.meta, "example_value"), torch.Tensor):
        return None
    return recipe(part, graph, known, left)


def evaluate(value: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """What a recipe gives for one run of the graph."""
    if isinstance(value, At):
        return (outputs if value.output else inputs)[value.place]
    if isinstance(value, weakref.ref):
        return value()
    if isinstance(value, Again):
        arguments = [evaluate(item, inputs, outputs) for item in value.arguments]
        options = {name: evaluate(item, inputs, outputs) for name, item in value.options.items()}
        if isinstance(value.operation, str):
            return getattr(arguments[0], value.operation)(*arguments[1:], **options)
        return value.operation(*arguments, **options)
    if isinstance(value, tuple):
        return tuple(evaluate(item, inputs, outputs) for item in value)
    return value


def sizes_of(node: Node) -> list[int]:
    """The sizes of a node; -1 for one that may change: to ask for it would add a guard."""
    example = private(node.meta, "example_value")
    return [size if type(size) is int else -1 for size in example.shape] if isinstance(example, torch.Tensor) else []


def shape_of(node: Node) -> list[int] | None:
    """The shape of a node; None where a size may change."""
    sizes = sizes_of(node)
    known = isinstance(private(node.meta, "example_value"), torch.Tensor) and -1 not in sizes
    return sizes if known else None


def holds_floats(node: Node) -> bool:
    """Whether a node is a tensor of floats."""
    example = private(node.meta, "example_value")
    return isinstance(example, torch.Tensor) and example.is_floating_point()


def changes_integers(node: Node) -> bool:
    """Whether a node changes a tensor in place that may be the targets."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    changes = name == "setitem" or (node.op == "call_method" and name.endswith("_")) or "out" in node.kwargs
    return changes and bool(node.args) and isinstance(node.args[0], Node) and not holds_floats(node.args[0])
