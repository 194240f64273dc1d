"""Seam: torch.autograd.grad and torch.func.grad, whose gradients a script applies itself."""

import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from gradaudit.record import hooks, session
from gradaudit.record.internals import private, transformed
from gradaudit.record.patches import Patch, leave_out_of, pass_over, replace


@dataclass
class _Running:
    """A function made by torch.func.grad that is running: the losses in it, and what it returned."""

    # The name of each, its value, its arguments, and which of those a gradient is asked through.
    losses: list[tuple[str, torch.Tensor, dict[str, Any], list[str]]] = field(default_factory=list)
    result: torch.Tensor | None = None


_local = threading.local()


def install() -> list[Patch]:
    """Wrap the functions that give gradients without a backward."""
    func = torch.func
    return [
        replace(torch.autograd, "grad", _watched_grad(torch.autograd.grad)),
        replace(func, "grad", _watched_func(func.grad, value=False)),
        replace(func, "grad_and_value", _watched_func(func.grad_and_value, value=True)),
    ]


def _running() -> _Running | None:
    return getattr(_local, "running", None)


def inside() -> bool:
    """Whether this thread is inside a function made by torch.func.grad."""
    return _running() is not None


def note_loss(name: str, result: torch.Tensor, call: dict[str, Any]) -> None:
    """A loss in such a function: what it stands for is a training loss, told when the function has run."""
    running = _running()
    if running is not None and _only_grad():
        arguments = {key: _unwrapped(item) for key, item in call.items()}
        trained = [key for key, item in call.items() if isinstance(item, torch.Tensor) and item.requires_grad]
        running.losses.append((name, _unwrapped(result).detach(), arguments, trained))


def _unwrapped(value: Any) -> Any:
    """What a tensor inside torch.func.grad stands for."""
    functorch = private(torch._C, "_functorch")
    while functorch is not None and isinstance(value, torch.Tensor) and functorch.is_gradtrackingtensor(value):
        value = functorch.get_unwrapped(value)
    return value


def _only_grad() -> bool:
    """Whether no vmap is active: inside it a tensor is many."""
    functorch = private(torch._C, "_functorch")
    stack = functorch.get_interpreter_stack() if functorch is not None else None
    return stack is not None and all(level.key() == functorch.TransformType.Grad for level in stack)


def _watched_grad(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        not_ours = _not_ours()
        if not not_ours:
            session.guarded(hooks.on_derivative, _listed(outputs))
        if not_ours or kwargs.get("create_graph") or (len(args) > 1 and args[1]) or _called_by_torch():
            return original(outputs, inputs, grad_outputs, *args, **kwargs)
        roots, given = _listed(outputs), _listed(inputs)
        leaves = all(isinstance(item, torch.Tensor) and item.is_leaf and item.requires_grad for item in given)
        watched = leaves and session.guarded(hooks.before_backward_by_hand, roots, given)
        between = session.guarded(hooks.on_backward, roots, grad_outputs) if watched else None
        try:
            result = original(outputs, inputs, grad_outputs, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        finally:
            if between is not None:
                between.running = False
        if watched:
            session.guarded(hooks.after_backward_by_hand, given, list(result))
        return result

    return grad


def _watched_func(original: Callable[..., Any], value: bool) -> Callable[..., Any]:
    @functools.wraps(original)
    def transform(func: Any, argnums: Any = 0, has_aux: bool = False) -> Any:
        if torch.compiler.is_compiling() or not callable(func):
            return original(func, argnums, has_aux)

        @functools.wraps(func)
        def noted(*args: Any, **kwargs: Any) -> Any:
            try:
                result = func(*args, **kwargs)
            except BaseException as error:
                leave_out_of(error)
                raise
            if inside() and not torch.compiler.is_compiling():
                session.guarded_call("trainings by hand", _note, result[0] if has_aux else result)
            return result

        plain, inner = original(func, argnums, has_aux), original(noted, argnums, has_aux)

        @functools.wraps(plain)
        def call(*args: Any, **kwargs: Any) -> Any:
            pytree = private(torch.utils, "_pytree")
            if pytree is None or _not_ours() or isinstance(argnums, tuple) or not 0 <= argnums < len(args):
                return plain(*args, **kwargs)
            paths = pytree.tree_flatten_with_path(args[argnums])[0]
            given = [leaf for _, leaf in paths if isinstance(leaf, torch.Tensor)]
            if len(given) < len(paths) or not session.guarded(hooks.before_backward_by_hand, [], given, _names(paths)):
                return plain(*args, **kwargs)
            running = _local.running = _Running()
            try:
                result = inner(*args, **kwargs)
            except BaseException as error:
                leave_out_of(error)
                raise
            finally:
                _local.running = None
            for name, loss, arguments, trained in running.losses:
                arguments |= {key: arguments[key].detach().requires_grad_() for key in trained}
                session.guarded(hooks.on_loss, name, loss.requires_grad_(), arguments)
            roots = [running.result] if running.result is not None else []
            between = session.guarded(hooks.on_backward, roots, None)
            if between is not None:
                between.running = False
            gradients = result[0] if value or has_aux else result
            session.guarded(hooks.after_backward_by_hand, given, pytree.tree_leaves(gradients))
            return result

        pass_over(noted)
        pass_over(call)
        return call

    return transform


def _note(result: Any) -> None:
    value, running = _unwrapped(result), _running()
    if isinstance(value, torch.Tensor) and running is not None and _only_grad():
        running.result = value.detach()


def _names(paths: Any) -> dict[int, str]:
    """The names of the leaves of a dictionary of parameters, by identity."""
    named = {}
    for path, leaf in paths:
        keys = [str(getattr(entry, "key", "")) for entry in path]
        if keys and all(keys):
            named[id(leaf)] = ".".join(keys)
    return named


def _not_ours() -> bool:
    return torch.compiler.is_compiling() or session.current() is None or inside() or transformed()


def _called_by_torch() -> bool:
    """Jacobians and the like are computed by torch for a caller of its own."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).partition(".")[0] == "torch"


def _listed(value: Any) -> list[Any]:
    # What can be read once only is left to torch.
    once = isinstance(value, torch.Tensor | Iterator) or not isinstance(value, Iterable)
    return [value] if once else list(value)
