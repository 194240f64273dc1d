"""Variables of the script that are written as an addend of the objective, and hold a scalar without a gradient.

The graph says that something without a gradient was added; the source of the function that calls backward says what it
is called, where the sum is written there.
"""

import ast
import sys
from collections.abc import Iterator
from typing import Any

import torch

from gradaudit.record.observe.evaluation.source import file_of
from gradaudit.record.observe.frame_locals import variables_of

_FRAMES = 4  # of the script's, from the one that calls backward on
_DEEP = 4  # variables that are sums of variables
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module)


def constant_addends(root: torch.Tensor) -> dict[str, torch.Tensor]:
    """The variables that the script adds to `root`, which no gradient goes through."""
    frame: Any = sys._getframe(1)
    looked, nodes = 0, _multiples(root.grad_fn)
    while frame is not None and looked < _FRAMES:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in ("gradaudit", "torch"):
            looked += 1
            names = variables_of(frame)
            held = [(name, value.grad_fn) for name, value in names.items() if isinstance(value, torch.Tensor)]
            found = next((name for node in nodes for name, other in held if other is node), None)
            if found is not None:
                body = _body_at(frame.f_code.co_filename, frame.f_lineno)
                return dict(_of_variable(found, body, frame.f_lineno, names, _DEEP)) if body is not None else {}
        frame = frame.f_back
    return {}


def _multiples(node: Any) -> list[Any]:
    """The node of a root, and of what it is a multiple of: a GradScaler multiplies, and who accumulates divides."""
    nodes = [node] if node is not None else []
    while nodes and len(nodes) < _DEEP and nodes[-1].name() in ("MulBackward0", "DivBackward0"):
        parents = [parent for parent, _ in nodes[-1].next_functions if parent is not None]
        if len(parents) != 1:
            break
        nodes += parents
    return nodes


def _body_at(filename: str, line: int) -> ast.AST | None:
    """The function, or the module, that the statement of a line is in."""
    file = file_of(filename)
    node: ast.AST | None = file.statements.get(line)
    while node is not None and not isinstance(node, _FUNCTIONS):
        node = file.parents.get(node)
    return node


def _of_variable(
    name: str, body: ast.AST, before: int, names: dict[str, Any], deep: int
) -> Iterator[tuple[str, torch.Tensor]]:
    """The constants in what is assigned to a variable last, before a line, and in what is added to it since."""
    given = [node for node in ast.walk(body) if _assigns(node, name) and getattr(node, "lineno", before) < before]
    for node in sorted(given, key=lambda one: -getattr(one, "lineno", 0)):
        value = getattr(node, "value", None)
        added = isinstance(node, ast.AugAssign)
        if value is not None and not (added and not isinstance(getattr(node, "op", None), ast.Add)):
            yield from _of_sum(value, body, getattr(node, "lineno", 0), names, deep)
        if not added:
            return


def _assigns(node: ast.AST, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and any(
        isinstance(target, ast.Name) and target.id == name for target in targets
    )


def _of_sum(
    value: ast.expr, body: ast.AST, line: int, names: dict[str, Any], deep: int
) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add | ast.Sub):
        yield from _of_sum(value.left, body, line, names, deep)
        # What is taken off is no term that somebody makes small.
        if isinstance(value.op, ast.Add):
            yield from _of_sum(value.right, body, line, names, deep)
        return
    within = list(ast.walk(value))
    variables = {node.id for node in within if isinstance(node, ast.Name)}
    tensors = {name: names[name] for name in variables if isinstance(names.get(name), torch.Tensor)}
    if len(tensors) != 1 or not all(isinstance(node, _PRODUCT) for node in within):
        return
    ((name, tensor),) = tensors.items()
    if tensor.requires_grad:
        if isinstance(value, ast.Name) and deep:
            yield from _of_variable(name, body, line, names, deep - 1)
    elif tensor.ndim == 0 and tensor.is_floating_point():
        yield name, tensor


_PRODUCT = (ast.Name, ast.Attribute, ast.Constant, ast.BinOp, ast.Mult, ast.Div, ast.Load)
