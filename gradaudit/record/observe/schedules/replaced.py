"""Parameters that an optimizer holds and no module does, and the parameters that have taken their place."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import torch
from torch import nn

from gradaudit.record.observe.naming import living, own, registered, walk
from gradaudit.record.observe.optimizers import known
from gradaudit.record.settings import in_utf8
from gradaudit.schema import ReplacedFacts

_MOST_NAMES, _MOST_SCANS = 16, 3
_MOST_ENTRIES = 64  # optimizers


class Replaced:
    """What was seen at the looks. Used under the recording's lock."""

    def __init__(self) -> None:
        self.found: dict[int, ReplacedFacts] = {}
        self._scans = 0

    def look(self, optimizer: Any, number: int, step: int) -> None:
        """Look at an optimizer that is about to make the global step `step`, with its gradients in place."""
        mine = [one for group in optimizer.param_groups for one in group["params"] if isinstance(one, torch.Tensor)]
        idle = [one for one in mine if one.requires_grad and one.grad is None]
        before = self.found.pop(number, None)  # what is seen no more was put right
        if not idle or len(self.found) >= _MOST_ENTRIES:
            return
        modules = registered()
        held = {id(p) for module in modules for p in own(module).values() if p is not None}
        missing = [one for one in idle if id(one) not in held]
        if missing and self._scans >= _MOST_SCANS and before is not None:
            self.found[number] = msgspec.structs.replace(before, last_step=step)
            return
        if missing and self._scans < _MOST_SCANS:
            # They were made before anybody looked.
            self._scans += 1
            modules = living()
            held = {id(p) for module in modules for p in own(module).values() if p is not None}
            missing = [one for one in missing if id(one) not in held]
        without = all(one.grad is None for one in mine)
        lost = missing or (idle if without else [])
        if lost:
            strangers = _strangers(modules)
            # Where nothing that the optimizer holds is in use, its tensors may be of any other size.
            pairs = matched(lost, strangers, alike=not (without and len(missing) == len(mine)))
            if pairs:
                self.found[number] = ReplacedFacts(
                    optimizer=number,
                    first_step=step if before is None else before.first_step,
                    last_step=step,
                    tensors=len(mine),
                    missing=len(missing),
                    without_gradient=without,
                    strangers=len(strangers),
                    names=[in_utf8(name) for name, _, _ in pairs[:_MOST_NAMES]],
                    matches=len(pairs),
                    shapes=[shape for _, shape, _ in pairs[:_MOST_NAMES]],
                    old_shapes=[old for _, _, old in pairs[:_MOST_NAMES]],
                )


def _strangers(modules: Sequence[nn.Module]) -> list[tuple[str, torch.Tensor]]:
    """The parameters of these modules that have a gradient and are in no optimizer."""
    owned = {id(one) for each in known() for group in each.param_groups for one in group["params"]}
    return [
        (name, one)
        for name, one in named(modules)
        if id(one) not in owned and one.requires_grad and one.grad is not None
    ]


def named(modules: Sequence[nn.Module]) -> Iterator[tuple[str, torch.Tensor]]:
    """Each parameter of these modules once, under its name in the outermost module."""
    children = {id(child) for module in modules for child in module.children()}
    seen: set[int] = set()
    for root in modules:
        if id(root) in children:
            continue
        for path, module in walk(root):
            for name, one in own(module).items():
                if one is not None and id(one) not in seen:
                    seen.add(id(one))
                    yield (f"{path}.{name}" if path else name), one


def matched(
    lost: Sequence[torch.Tensor], strangers: Sequence[tuple[str, torch.Tensor]], alike: bool = True
) -> list[tuple[str, list[int], list[int]]]:
    """Which strangers have the shape of a lost one, or differ from it in one size: name, shape and old shape.

    Where they need not be `alike`, as many axes are enough.
    """
    left = [list(one.shape) for one in lost]
    pairs = []
    for name, one in strangers:
        shape = list(one.shape)
        near = shape if shape in left else next((old for old in left if _near(old, shape)), None)
        if near is None and not alike:
            near = next((old for old in left if len(old) == len(shape)), None)
        if near is not None:
            left.remove(near)
            pairs.append((name, shape, near))
    return pairs


def _near(old: list[int], new: list[int]) -> bool:
    """Whether all sizes but one are the same: a table or a head of another length."""
    return len(old) == len(new) and sum(one != other for one, other in zip(old, new, strict=True)) == 1
