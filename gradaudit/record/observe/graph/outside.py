"""Parameters that the objective reaches beside those that are stepped, and that no optimizer holds."""

import math
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn

from gradaudit.record.observe.graph.terms import Identifiers
from gradaudit.record.observe.model_state.looks import Look
from gradaudit.record.observe.naming import own, registered, walk
from gradaudit.record.observe.optimizers import known
from gradaudit.record.settings import in_utf8
from gradaudit.schema import OutsideFacts

_MOST = 256  # parameters that are followed
_SAMPLE = 4096  # elements of each


@dataclass(eq=False)
class _Outside:
    held: "weakref.ref[torch.Tensor]"
    name: str
    sizes: list[int]
    first: int
    start: Look  # [3]: the sum, norm and largest element of a sample
    end: Look
    last: int
    looks: int = 1
    owned: bool = False  # an optimizer took it since


class Outside:
    """What is known so far. Used under the recording's lock."""

    def __init__(self) -> None:
        self._found: dict[int, _Outside] = {}

    def look(self, step: int, leaves: Iterable["weakref.ref[torch.Tensor]"], identified: Identifiers) -> None:
        """A step is made with gradients that also reach these, which the run did not know."""
        alive = (leaf() for leaf in leaves)
        here = [leaf for leaf in alive if isinstance(leaf, nn.Parameter)]
        if not here and not self._found:
            return
        owned = {id(one) for each in known() for group in each.param_groups for one in group["params"]}
        for key, entry in self._found.items():
            entry.owned |= key in owned or (key in identified and identified[key][0]() is entry.held())
        new = [one for one in here if id(one) not in owned and not self._follows(one, step)]
        if new and len(self._found) < _MOST:
            names = _names()
            for one in islice(new, _MOST - len(self._found)):
                start = Look.of(step, _sampled(one))
                self._found[id(one)] = _Outside(
                    weakref.ref(one), names.get(id(one), ""), list(one.shape), step, start, start, step
                )

    def _follows(self, one: torch.Tensor, step: int) -> bool:
        """Whether a parameter is known; it is looked at again."""
        entry = self._found.get(id(one))
        if entry is None or entry.held() is not one:
            return False
        if entry.last != step:
            entry.looks, entry.last, entry.end = entry.looks + 1, step, Look.of(step, _sampled(one))
        return True

    def facts(self) -> list[OutsideFacts]:
        """What goes into run.json; called by the writer's thread, waits for the device."""
        return [_told(entry) for entry in list(self._found.values()) if not entry.owned]


def _sampled(one: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        flat = one.detach().reshape(-1) if one.is_contiguous() else one.detach().flatten()
        some = flat[:: max(1, -(-flat.numel() // _SAMPLE))].double()
        norm, top = some.norm(), some.abs().amax() if some.numel() else some.new_zeros(())
        return torch.stack([some.sum(), norm, top])


def _names() -> dict[int, str]:
    """The name of each parameter of a module, by identity, with the class of the outermost module in front."""
    modules: Sequence[Any] = registered()
    children = {id(child) for module in modules for child in module.children()}
    found: dict[int, str] = {}
    for root in modules:
        for path, module in walk(root) if id(root) not in children else ():
            for name, one in own(module).items():
                if one is not None:
                    found.setdefault(id(one), ".".join(filter(None, [type(root).__name__, path, name])))
    return found


def _told(entry: _Outside) -> OutsideFacts:
    start, end = entry.start.numbers().tolist(), entry.end.numbers().tolist()
    elements = math.prod(entry.sizes)
    return OutsideFacts(
        name=in_utf8(entry.name), sizes=entry.sizes, first=entry.first, last=entry.last, looks=entry.looks,
        sampled=len(range(0, elements, max(1, -(-elements // _SAMPLE)))),
        norm=start[1] if math.isfinite(start[1]) else None, largest=start[2] if math.isfinite(start[2]) else None,
        moved=start != end,
    )  # fmt: skip
