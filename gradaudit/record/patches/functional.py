"""Patch: torch.autograd.grad and torch.func.grad, whose gradients a script applies itself."""

import functools
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from gradaudit.record import hooks, session
from gradaudit.record.by_hand.hands import BY_HAND
from gradaudit.record.internals import private, transformed
from gradaudit.record.observers import EVALUATION_LOSSES
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


def note_loss(
    name: str, result: torch.Tensor, bind: Callable[..., dict[str, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """A loss in such a function: what it stands for is a training loss, told when the function has run."""
    running = _running()
    if running is not None and _only_grad():
        call = bind(args, kwargs)
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
            session.guarded_call(EVALUATION_LOSSES, _derived, outputs, inputs, args, kwargs)
        if not_ours or kwargs.get("create_graph") or (len(args) > 1 and args[1]) or _called_by_torch():
            return original(outputs, inputs, grad_outputs, *args, **kwargs)
        watched = session.guarded_call(BY_HAND, _open, outputs, inputs, grad_outputs)
        try:
            result = original(outputs, inputs, grad_outputs, *args, **kwargs)
        except BaseException as error:
            leave_out_of(error)
            raise
        finally:
            if watched is not None:
                watched.end()
        if watched is not None:
            session.guarded_call(BY_HAND, watched.close, result)
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
                session.guarded_call(BY_HAND, _note, result, has_aux)
            return result

        plain, inner = original(func, argnums, has_aux), original(noted, argnums, has_aux)

        @functools.wraps(plain)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = None if _not_ours() else session.guarded_call(BY_HAND, _watched_leaves, args, argnums)
            if given is None:
                return plain(*args, **kwargs)
            running = _local.running = _Running()
            try:
                result = inner(*args, **kwargs)
            except BaseException as error:
                leave_out_of(error)
                raise
            finally:
                _local.running = None
            session.guarded_call(BY_HAND, _tell, running, given, result, value or has_aux)
            return result

        for ours in (noted, call):
            session.unlocked_call(BY_HAND, pass_over, ours)
        return call

    return transform


def _derived(outputs: Any, inputs: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with_graph = kwargs.get("create_graph") or (len(args) > 1 and args[1])
    session.guarded(hooks.on_derivative, _listed(outputs), [] if with_graph else _listed(inputs))


class _Open(NamedTuple):
    """A call of torch.autograd.grad whose gradients may become a step."""

    given: list[torch.Tensor]
    between: Any  # what this thread shows; None where the recording ended meanwhile

    def end(self) -> None:
        """The engine has written its gradients."""
        if self.between is not None:
            self.between.running = False

    def close(self, gradients: Any) -> None:
        """The gradients are known."""
        session.guarded(hooks.after_backward_by_hand, self.given, list(gradients))


def _open(outputs: Any, inputs: Any, grad_outputs: Any) -> _Open | None:
    """Tell of a backward that gives gradients to leaves which are changed by hand; None of another."""
    roots, given = _listed(outputs), _listed(inputs)
    leaves = all(isinstance(item, torch.Tensor) and item.is_leaf and item.requires_grad for item in given)
    if not leaves or not session.guarded(hooks.before_backward_by_hand, roots, given):
        return None
    return _Open(given, session.guarded(hooks.on_backward, roots, grad_outputs))


def _watched_leaves(args: tuple[Any, ...], argnums: Any) -> list[torch.Tensor] | None:
    """The tensors that torch.func.grad differentiates by, if the script changes them by hand."""
    pytree = private(torch.utils, "_pytree")
    if pytree is None or not isinstance(argnums, int) or not 0 <= argnums < len(args):
        return None
    paths = pytree.tree_flatten_with_path(args[argnums])[0]
    given = [leaf for _, leaf in paths if isinstance(leaf, torch.Tensor)]
    watched = len(given) == len(paths) and session.guarded(hooks.before_backward_by_hand, [], given, _names(paths))
    return given if watched else None


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return kwargs


def _tell(running: _Running, given: list[torch.Tensor], result: Any, more: bool) -> None:
    """Tell of a function made by torch.func.grad that has run; it returned `more` than the gradients."""
    for name, loss, arguments, trained in running.losses:
        arguments |= {key: arguments[key].detach().requires_grad_() for key in trained}
        session.guarded(hooks.on_loss, name, loss.requires_grad_(), _named, (), arguments)
    roots = [running.result] if running.result is not None else []
    between = session.guarded(hooks.on_backward, roots, None)
    if between is not None:
        between.running = False
    gradients = private(torch.utils, "_pytree").tree_leaves(result[0] if more else result)
    session.guarded(hooks.after_backward_by_hand, given, gradients)


def _note(result: Any, more: bool) -> None:
    value, running = _unwrapped(result[0] if more else result), _running()
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
