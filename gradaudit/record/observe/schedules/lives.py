"""Optimizers that are made anew over the same parameters, and what they lose by it."""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from gradaudit.record.internals import version_of
from gradaudit.record.observe.walking import steadily
from gradaudit.schema import OptimizerLives

_MOST = 64  # entries of a list


@dataclass(eq=False)
class One:
    """One optimizer that steps."""

    number: int
    of: "Alike"
    steps: int = 0


@dataclass(eq=False)
class Alike:
    """The optimizers of one class over one set of parameters."""

    number: int
    steps: int = 0
    current: One | None = None
    first: "weakref.ref[torch.Tensor] | None" = None  # its first parameter
    version: int = -1  # of that, as the last step left it
    made: int = 0
    lost: int = 0
    loaded: int = 0
    rewritten: int = 0
    alternating: bool = False
    stateful: bool = False
    at: list[int] = field(default_factory=list)
    lives: list[int] = field(default_factory=list)


class Lives:
    """The optimizers that stepped. Used under the recording's lock."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Any, One] = weakref.WeakKeyDictionary()
        self._same: dict[int, Alike] = {}
        self._last: tuple[weakref.ref[Any], One] | None = None  # the optimizer that stepped last
        self.total = 0  # steps of all optimizers
        self._open: One | None = None  # whose step has begun, of the optimizer with the identity:
        self._opened = 0

    def steps_of(self, optimizer: Any) -> int:
        """Steps that this optimizer has made, those that a scaler skipped included."""
        one = self._known.get(optimizer)
        return one.steps if one is not None else 0

    def stepping(self) -> list[Any]:
        """The optimizers that stepped and still exist."""
        found: list[Any] = steadily(list, self._known)
        return found

    def before_step(self, optimizer: Any, numbers: Mapping[Any, int]) -> One:
        """A step of the optimizer begins, whose number is one of `numbers` if it has any."""
        last = self._last
        if last is not None and last[0]() is optimizer:
            one = last[1]
        else:
            one = self._known.get(optimizer) or self._add(optimizer, numbers.get(optimizer, -1))
            self._last = weakref.ref(optimizer), one
        same = one.of
        if same.current is not one:
            if one.steps:
                same.alternating = True
            elif same.current is not None and len(same.lives) < _MOST:
                same.lives.append(same.current.steps)
            same.current = one
        self._open, self._opened = one, id(optimizer)
        one.steps += 1
        same.steps += 1
        self.total += 1
        return one

    def latest(self) -> One | None:
        """The optimizer that stepped last."""
        return self._last[1] if self._last is not None else None

    def passed(self, count: int) -> None:
        """The optimizer that stepped last made so many steps more."""
        one = self.latest()
        if one is not None:
            one.steps += count
            one.of.steps += count
            self.total += count
            first = one.of.first() if one.of.first is not None else None
            one.of.version = version_of(first) if first is not None else one.of.version

    def _add(self, optimizer: Any, number: int) -> One:
        same = self._same.get(number)
        first = next((one for group in optimizer.param_groups for one in group["params"]), None)
        if same is None or number < 0:
            same = self._same[number] = Alike(number)
        one = self._known[optimizer] = One(number, same)
        same.made += 1
        if same.made > 1:
            if len(same.at) < _MOST:
                same.at.append(self.total)
            here = same.first() if same.first is not None else None
            if _remembers(optimizer):
                same.loaded += 1
            elif not isinstance(here, torch.Tensor) or here is not first or version_of(first) != same.version:
                same.rewritten += 1
            else:
                same.lost += 1
        same.first = weakref.ref(first) if isinstance(first, torch.Tensor) else None
        return one

    def after_step(self, optimizer: Any) -> None:
        """The step is made."""
        one = self._open
        if one is None or self._opened != id(optimizer):
            return
        self._open, same = None, one.of
        first = same.first() if same.first is not None else None
        if first is not None:
            same.version = version_of(first)
        if one.steps == 1:
            same.stateful |= _remembers(optimizer)

    def facts(self) -> list[OptimizerLives]:
        """What goes into run.json: of those made more than once."""
        return [
            OptimizerLives(
                optimizer=same.number,
                made=same.made,
                lost=same.lost,
                loaded=same.loaded,
                rewritten=same.rewritten,
                alternating=same.alternating,
                stateful=same.stateful,
                at=list(same.at),
                lives=list(same.lives),
            )
            for same in list(self._same.values())
            if same.number >= 0 and same.made > 1
        ][:_MOST]


def _remembers(optimizer: Any) -> bool:
    """Whether an optimizer keeps anything between steps; SGD without momentum has entries that are empty."""
    kept = getattr(optimizer, "state", None)
    entries = kept.values() if isinstance(kept, Mapping) else ()
    return any(value is not None for entry in entries if isinstance(entry, Mapping) for value in entry.values())
