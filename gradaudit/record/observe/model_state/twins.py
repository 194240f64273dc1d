"""Finds modules in no optimizer that have the names and shapes of trained ones."""

from collections.abc import Iterator, Sequence, Set
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradaudit.record.observe.naming import children_of, living, own, registered, unwrap
from gradaudit.record.observe.tensors import TensorTable

MOST_MODULES = 20_000
MOST_TWINS = 32
_LEAST_ELEMENTS = 16


class Twin(NamedTuple):
    """A module that no optimizer holds, and a trained one of the same shapes."""

    module: nn.Module
    trained: nn.Module
    same_model: bool  # whether one outermost module holds both


class TooManyError(Exception):
    """More modules than are looked at."""


def owned_by_optimizers(table: TensorTable) -> set[int]:
    """The identities of all parameters that an optimizer holds."""
    return {
        key
        for key, (reference, number) in list(table.identifier.items())
        if number in table.owner and reference() is not None
    }


def twins(owned: Set[int], *, everywhere: bool) -> list[Twin]:
    """The outermost modules without an owned parameter that have the shapes of one with owned parameters.

    Modules that were made before anybody looked are found `everywhere` only: among all objects, which takes some 0.1 s.
    Raises TooManyError.
    """
    known = registered()
    if everywhere or not owned <= {id(one) for module in known for one in own(module).values() if one is not None}:
        seen = {id(module) for module in known}
        known += [module for module in living() if id(module) not in seen]
    if len(known) > MOST_MODULES:
        raise TooManyError
    shapes = _Shapes(owned)
    children = {id(child) for module in known for child in children_of(module).values() if child is not None}
    outermost = [module for module in known if id(module) not in children]
    trained: dict[int, tuple[nn.Module, int]] = {}
    for number, root in enumerate(outermost):
        for module in _outermost_of(root, shapes, lambda found: found.owned > 0):
            for part in module.modules():
                if shapes.of(part).owned:
                    trained.setdefault(shapes.of(part).kind, (part, number))
    found: list[Twin] = []
    for number, root in enumerate(outermost):
        for module in _outermost_of(root, shapes, lambda one: not one.owned and one.kind in trained):
            of, its = trained[shapes.of(module).kind]
            if shapes.of(module).worth and (module is root or not _one_of_a_row(module, of, root, its == number)):
                found.append(Twin(unwrap(module), unwrap(of), its == number))
    return found[:MOST_TWINS]


class _Shape(NamedTuple):
    kind: int  # equal for equal names and shapes of all parameters inside
    owned: int  # parameters inside that an optimizer holds
    holders: int  # modules inside with parameters of their own
    worth: bool  # whether it is something that can be told by its shapes


class _Shapes:
    """The shapes of modules, each worked out once."""

    def __init__(self, owned: Set[int]) -> None:
        self._owned = owned
        self._known: dict[int, _Shape] = {}
        self._kinds: dict[Any, int] = {}

    def of(self, module: nn.Module) -> _Shape:
        """What a module holds."""
        if id(module) not in self._known:
            self._known[id(module)] = _Shape(-1, 0, 0, False)  # of one that holds itself
            self._known[id(module)] = self._find(module)
        return self._known[id(module)]

    def _find(self, module: nn.Module) -> _Shape:
        inner = unwrap(module)
        if inner is not module:
            return self.of(inner)
        held = {name: tensor for name, tensor in own(module).items() if tensor is not None}
        parts = {name: self.of(part) for name, part in children_of(module).items() if part is not None}
        parts = {name: part for name, part in parts.items() if part.holders}
        key = (
            tuple((name, () if is_lazy(tensor) else tuple(tensor.shape)) for name, tensor in held.items()),
            tuple((name, part.kind) for name, part in parts.items()),
        )
        elements = sum(0 if is_lazy(tensor) else tensor.numel() for tensor in held.values())
        plain = all(_readable(tensor) for tensor in held.values())
        return _Shape(
            kind=self._kinds.setdefault(key, len(self._kinds)),
            owned=sum(id(tensor) in self._owned for tensor in held.values())
            + sum(part.owned for part in parts.values()),
            holders=bool(held) + sum(part.holders for part in parts.values()),
            worth=plain and (elements >= _LEAST_ELEMENTS or any(part.worth for part in parts.values())),
        )


def _readable(tensor: torch.Tensor) -> bool:
    return type(tensor) in (torch.Tensor, nn.Parameter) and not tensor.is_meta and not tensor.is_inference()


def _outermost_of(root: nn.Module, shapes: _Shapes, wanted: Any) -> Iterator[nn.Module]:
    """The outermost modules under `root` whose shape is `wanted`."""
    waiting: list[nn.Module] = [root]
    seen: set[int] = set()
    while waiting:
        module = waiting.pop(0)
        if id(module) in seen:
            continue
        seen.add(id(module))
        shape = shapes.of(module)
        if shape.holders and wanted(shape):
            yield module
        else:
            waiting += [child for child in children_of(module).values() if child is not None]


def _one_of_a_row(module: nn.Module, trained: nn.Module, root: nn.Module, same: bool) -> bool:
    """Whether two layers of one model are alike because it repeats them: blocks of a stack, some of them frozen."""
    if not same:
        return False
    names: dict[int, Sequence[str]] = {id(part): path.split(".") for path, part in root.named_modules()}
    first, second = names.get(id(module), ()), names.get(id(trained), ())
    alone = not any(part is not None for part in children_of(module).values())
    differing = [(one, two) for one, two in zip(first, second, strict=False) if one != two]
    return alone or not differing or all(one.isdigit() or two.isdigit() for one, two in differing)
