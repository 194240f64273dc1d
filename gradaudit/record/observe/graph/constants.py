"""Constants among the summands of an objective, and what they may come from: losses and gradients without a graph.

A loss whose graph was cut off is added to the objective like any other, and trains nothing. The graph shows that
something without a gradient was added, and not what. So its value, the objective less all terms whose values are known,
is kept beside those of the losses without a graph that were computed for this backward, and of the variables that the
script adds.
"""

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gradaudit.record.measure.host_loss import value_of
from gradaudit.record.observe.graph.addends import constant_addends
from gradaudit.record.observe.graph.terms import Sum
from gradaudit.record.observe.loss.calls import node_key
from gradaudit.record.observe.model_state.looks import Look
from gradaudit.schema import ConstantFacts, ConstantSourceFacts

_MOST_CALLS = 16  # losses of each kind between two backwards
_MOST_SITES = 16  # objectives with other terms
_MOST_LOOKS = 64  # of each

Number = float | torch.Tensor
Name = tuple[
    int, str, int
]  # the loss, the function, and how many of the same came after it; of a variable -1 and its name


@dataclass(eq=False)
class _Call:
    loss: int
    function: str
    value: Number
    enabled: bool  # gradients were


@dataclass(eq=False)
class _Since:
    """What a thread computed since its last backward."""

    backwards: int
    attached: list[tuple[Any, Number]] = field(default_factory=list)  # losses with a graph, by the key of their node
    calls: list[_Call] = field(default_factory=list)  # those without one
    derived: bool = False  # gradients that are no parameters' were asked for without a graph


class _Row:
    """Numbers of one look, on the host or on their way there."""

    def __init__(self, step: int, numbers: Sequence[Number]) -> None:
        away = [one for one in numbers if isinstance(one, torch.Tensor)]
        # Numbers of several devices are not compared.
        alike = len({one.device for one in away}) == 1
        self._away = Look.of(step, torch.stack([one.double() for one in away])) if alike else None
        self._here = [None if isinstance(one, torch.Tensor) else one for one in numbers]

    def read(self) -> list[float]:
        arrived = iter(self._away.numbers().tolist() if self._away is not None else ())
        return [next(arrived, math.nan) if one is None else one for one in self._here]


@dataclass(eq=False)
class _Summed:
    """One look at a sum with a constant."""

    calls: list[tuple[Name, bool]]
    factors: Sequence[float | None]  # of the terms whose values are known; None where one is not
    row: _Row  # objective, values of the terms, values of the calls


@dataclass(eq=False)
class _Site:
    terms: tuple[int, ...]  # identities
    factor: float | None = None
    first: int = 0
    last: int = 0
    looks: int = 0
    without: int = 0
    derived: int = 0
    sums: list[_Summed] = field(default_factory=list)


class Constants:
    """What is known so far. Used under the recording's lock."""

    def __init__(self) -> None:
        self._since: weakref.WeakKeyDictionary[Any, _Since] = weakref.WeakKeyDictionary()
        self._sites: dict[tuple[int, ...], _Site] = {}

    def on_loss(self, between: Any, loss: int, function: str, result: torch.Tensor) -> None:
        """A loss function returned `result` in a thread, before a backward that may be looked at."""
        since = self._mine(between)
        if result.requires_grad:
            if result.numel() == 1:
                since.attached.append((node_key(result.grad_fn), _value(result)))
                del since.attached[:-_MOST_CALLS]
        else:
            since.calls.append(_Call(loss, function, _value(result), torch.is_grad_enabled()))
            del since.calls[:-_MOST_CALLS]

    def on_derivative(self, between: Any) -> None:
        """Gradients of something that is no parameter were asked for without a graph of their own."""
        self._mine(between).derived = True

    def _mine(self, between: Any) -> _Since:
        since = self._since.get(between)
        if since is None or since.backwards != between.backwards:
            self._since[between] = since = _Since(between.backwards)
        return since

    def on_root(
        self, between: Any, step: int, root: torch.Tensor, summed: Sum, terms: Sequence[int], scale: Any
    ) -> None:
        """A backward is about to run from `root`, the sum of these `terms`, by identity; of all of it times `scale`."""
        key = tuple(sorted(terms))
        site = self._sites.get(key)
        if site is None:
            if len(self._sites) >= _MOST_SITES:
                return
            site = self._sites[key] = _Site(key, first=step)
        if not summed.constants:
            site.without += 1
            return
        since = self._since.get(between)
        # The backward that is about to run has been counted.
        since = _Since(0) if since is None or since.backwards != between.backwards - 1 else since
        if not site.looks:
            site.factor, site.first = summed.constants[0], step
        site.last, site.looks, site.derived = step, site.looks + 1, site.derived + since.derived
        if len(site.sums) < _MOST_LOOKS:
            site.sums.append(_look(step, root, summed, since, scale))

    def facts(self, numbers: dict[int, int]) -> list[ConstantFacts]:
        """What goes into run.json; `numbers` are those of the terms, by identity. Waits for the device."""
        return [_told(site, numbers) for site in list(self._sites.values()) if site.looks]


def _value(result: torch.Tensor) -> Number:
    known = value_of(result)
    if known is not None:
        return known
    with torch.no_grad():
        return result.detach().double().mean()


def _look(step: int, root: torch.Tensor, summed: Sum, since: _Since, scale: Any) -> _Summed:
    values = dict(since.attached)
    found = [(values.get(node_key(one.node)), one.factor) for one in summed.terms]
    known = [value for value, _ in found if value is not None]
    if len(known) < len(found):
        known = []
    counts: dict[tuple[int, str], int] = {}
    calls: list[tuple[Name, bool]] = []
    numbers: list[Number] = []
    for call in reversed(since.calls):
        after = counts[call.loss, call.function] = counts.get((call.loss, call.function), -1) + 1
        calls.append(((call.loss, call.function, after), call.enabled))
        numbers.append(call.value)
    for name, variable in constant_addends(root).items():
        calls.append(((-1, name, 0), True))
        numbers.append(_value(variable))
    with torch.no_grad():
        objective = _value(root)
        if scale is not None:
            objective = torch.as_tensor(objective, dtype=torch.float64) / scale.double()
    factors = [factor for _, factor in found] if known else [None]
    return _Summed(calls, factors, _Row(step, [objective, *known, *numbers]))


def _told(site: _Site, numbers: dict[int, int]) -> ConstantFacts:
    rest: list[float | None] = []
    size: list[float | None] = []
    calls: dict[Name, list[float | None]] = {}
    enabled: dict[Name, bool] = {}
    for place, look in enumerate(list(site.sums)):
        objective, *values = look.row.read()
        terms = [value * factor for value, factor in zip(values, look.factors, strict=False) if factor is not None]
        whole = len(terms) == len(look.factors)
        rest.append(_finite(objective - sum(terms)) if whole else None)
        size.append(_finite(abs(objective) + sum(map(abs, terms))) if whole else None)
        for (name, on), value in zip(look.calls, values[len(values) - len(look.calls) :], strict=True):
            known = calls.setdefault(name, [])
            known += [None] * (place - len(known))
            known.append(_finite(value))
            enabled[name] = enabled.get(name, True) and on
    return ConstantFacts(
        terms=sorted({numbers[one] for one in site.terms if one in numbers}),
        first=site.first, last=site.last, looks=site.looks, without=site.without, factor=site.factor,
        derived=site.derived, rest=rest, size=size,
        sources=[
            ConstantSourceFacts(loss=name[0], function=name[1] if name[0] >= 0 else "",
                              variable=name[1] if name[0] < 0 else "", enabled=enabled[name],
                              values=[*values, *[None] * (len(rest) - len(values))])
            for name, values in calls.items()
        ],
    )  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
