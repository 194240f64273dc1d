"""Where dropout, or BatchNorm's training mode, is active without a gradient while the model is in evaluation mode."""

import sys
import threading
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from torch import nn

from gradaudit.record.observe.frame_locals import variables_of
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.schema import ActiveFacts

MOST_PLACES = 64
_DEEPEST = 64  # frames looked at
_PASSING = ("contextlib", "functools")  # what stands between a script and what it calls
Key = tuple[Any, ...]


@dataclass
class _Place:
    facts: ActiveFacts
    calls: int = 0
    before_losses: int = 0  # of the calls
    losses: int = 0
    last: int = -1

    def told(self) -> ActiveFacts:
        repeats = self.before_losses / self.losses if self.losses else 0.0
        return ActiveFacts(
            **{name: getattr(self.facts, name) for name in self.facts.__struct_fields__}
            | {"calls": self.calls, "losses": self.losses, "repeats": repeats, "last": self.last}
        )


@dataclass(frozen=True)
class _Found:
    """Where a call stands: who called, and in which module."""

    caller: str = ""
    line: int = 0
    by_torch: bool = False  # a module of torch calls the function
    holder: nn.Module | None = None  # the module that calls it
    around: nn.Module | None = None  # the nearest module that the model holds


class Active:
    """The places of one recording, by function, line and module."""

    def __init__(self) -> None:
        self.places: dict[Key, _Place] = {}
        self.evaluations = 0
        self.pending: dict[int, dict[Key, int]] = {}  # calls of each thread that no loss has followed yet
        self._table: Any = None  # the modules whose names are known
        self._names: dict[int, str] = {}

    def note(self, table: TensorTable, function: str, probability: Any, said: bool) -> None:
        """A call that is active, without a gradient; where a model is in training mode it is meant so."""
        if table.training() != 0:
            return
        found = _find(self._known(table))
        if found.around is None and isinstance(found.holder, nn.Module) and id(found.holder) not in self._names:
            return  # of another model, whose modes are its own: statistics that are gathered anew for an average
        holder = found.holder if found.holder is not None and id(found.holder) in self._names else None
        key = (function, found.caller, found.line, id(holder) if holder is not None else type(found.holder))
        if key not in self.places:
            if len(self.places) >= MOST_PLACES:
                return
            self.places[key] = _Place(self._facts(found, function, probability, said))
        calls = self.pending.setdefault(threading.get_ident(), {})
        calls[key] = calls.get(key, 0) + 1

    def evaluated(self, training: int, after_step: int) -> None:
        """A loss was computed without a gradient: the calls before it belong to an evaluation in that mode."""
        calls = self.pending.pop(threading.get_ident(), {})
        if training != 0:
            return
        self.evaluations += 1
        for key, count in calls.items():
            place = self.places[key]
            place.calls, place.before_losses = place.calls + count, place.before_losses + count
            place.losses, place.last = place.losses + 1, after_step

    def rest(self, after_step: int) -> None:
        """A backward follows: calls without a loss were made in evaluation mode all the same."""
        for key, count in self.pending.pop(threading.get_ident(), {}).items():
            place = self.places[key]
            place.calls, place.last = place.calls + count, after_step

    def facts(self) -> list[ActiveFacts]:
        """What goes into run.json; asked by the writer's thread."""
        return [place.told() for place in list(self.places.values()) if place.calls]

    def _known(self, table: TensorTable) -> dict[int, str]:
        if self._table is not table.modules:
            self._table = modules = table.modules
            self._names = {key: modules[number].name for key, number in table.numbers_of_modules().items()}
        return self._names

    def _facts(self, found: _Found, function: str, probability: Any, said: bool) -> ActiveFacts:
        holder, around = found.holder, found.around
        known = holder is not None and id(holder) in self._names
        kind = "functional"
        if holder is not None and (found.by_torch or (said and holder.training)):
            kind = "child" if known else "unregistered"
        named = holder if known else around
        return ActiveFacts(
            function=function,
            kind=kind,
            module=self._names.get(id(named), ""),
            module_class=type(holder).__name__ if holder is not None else "",
            caller=found.caller,
            line=found.line,
            probability=float(probability) if isinstance(probability, float | int) else 0.0,
            said=said and not found.by_torch,
        )


def _find(known: dict[int, str]) -> _Found:
    """Where the call stands that is being looked at; `known` are the identities of the model's modules."""
    frame: FrameType | None = sys._getframe(1)
    found, left, first = _Found(), _DEEPEST, True
    while frame is not None and left and not (found.caller and found.around is not None):
        left -= 1
        room = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if room != "gradaudit" and room not in _PASSING:
            module = _module_of(frame)
            if first:
                found, first = replace(found, by_torch=room == "torch"), False
                found = found if found.by_torch else replace(found, holder=module)
            if found.by_torch and found.holder is None and room == "torch" and not found.caller:
                found = replace(found, holder=module)
            if room != "torch" and not found.caller:
                found = replace(found, caller=frame.f_code.co_qualname, line=frame.f_lineno)
            if module is not None and found.around is None and id(module) in known:
                found = replace(found, around=module)
        frame = frame.f_back
    return found


def _module_of(frame: FrameType) -> nn.Module | None:
    if "self" not in frame.f_code.co_varnames[:1] and "self" not in frame.f_code.co_freevars:
        return None
    value = variables_of(frame).get("self")
    return value if issubclass(type(value), nn.Module) else None
