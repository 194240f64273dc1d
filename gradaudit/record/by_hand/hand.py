"""The optimizer that a script is when it has none of torch's: its parameters, and its options where they are found."""

import math
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from gradaudit.record.by_hand.graph import Mark
from gradaudit.record.by_hand.rate import UNKNOWN, Solved
from gradaudit.record.internals import version_of
from gradaudit.record.observe.frame_locals import namespaces
from gradaudit.record.observe.optimizers import ByHand
from gradaudit.schema import BY_HAND

_MARKED = 8  # tensors looked at, once it is known which ones the script changes
_LOOKED = 64  # gradients looked at, to see whether a backward reached them
_LOOKS = 3  # comparisons that wait for a device
_RATES = ("lr", "learning_rate")
_MOST_ITEMS = 10_000  # of a list that may hold the parameters


class Hand(ByHand):
    """What the recording asks of an optimizer, answered for parameters that the script changes itself."""

    def __init__(self, parameters: Sequence[torch.Tensor], optimizer: Any, names: dict[int, str]) -> None:
        self.keep(parameters)
        self.stands_for: Any = _reference(optimizer)  # the script's own optimizer, for its name
        self.defaults = _numbers(optimizer)
        self.options: list[dict[str, Any]] = []  # of each group, as they were after the backward
        self.solved: Solved = UNKNOWN
        self.steps = 0
        self.micro_steps = 1  # backwards of the last step
        self.beside = False  # a leaf that is no parameter of the model that it goes through
        self.trial = 0  # changes that are not recorded yet: of an input, which may be no training
        self.replaced = False  # the script makes new tensors at each step
        self.given: dict[int, torch.Tensor | None] | None = None  # gradients that no parameter holds
        self.early = True  # its first step is measured too
        self.passed = 0  # steps of others before it
        self.gradients: list[Any] | None = None  # what told them apart after the last backward
        self.by_data = False  # on a device the script writes to `.data`
        self._looks_left = _LOOKS
        self.unsure = False  # the first update has to follow the gradient
        self.identifiers: list[int] = []  # of the parameters, in the record
        self.parts = False  # one backward reaches some of the parameters, another one others
        self.touched: set[int] = set()  # those reached since the last step, where there are parts
        self.names = names  # of parameters that no module holds
        self.marks: list[Mark] = []
        self.mark()

    def parameters(self) -> list[torch.Tensor]:
        """Those that still exist."""
        return [parameter for reference in self.references if (parameter := reference()) is not None]

    def reached(self) -> list[torch.Tensor]:
        """Those that the last backwards gave gradients to: the others' may be left from a step before."""
        return [parameter for parameter in self.parameters() if not self.parts or id(parameter) in self.touched]

    def note_touched(self, before: list[Any] | None, after: list[Any] | None, leaves: set[int], anew: bool) -> None:
        """Remember which parameters a backward to these leaves has given gradients to, by their state."""
        if anew:
            self.touched = set()
        if before is None or after is None:
            self.touched |= leaves
            return
        pairs = zip(self.parameters(), before, after, strict=True)
        self.touched |= {id(parameter) for parameter, was, now in pairs if was != now}

    def follows_the_gradients(self) -> bool:
        """Whether the update is known to be a multiple of the gradients."""
        return not math.isnan(self.solved.rate)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameters and options, in torch's words: the groups of the script's optimizer, else one of all."""
        mine = self.parameters()
        rate, decay = abs(self.solved.rate), self.solved.decay
        # At the first step momentum has nothing to add yet.
        solved = {"lr": rate, "weight_decay": decay, "momentum": 0.0 * rate if self.steps else math.nan}
        if not self.options:
            return [{"params": mine, **solved}]
        members = [options["members"] for options in self.options]
        groups = [
            {**solved, **options, "params": [parameter for parameter in mine if id(parameter) in held]}
            for options, held in zip(self.options, members, strict=True)
        ]
        others = [parameter for parameter in mine if not any(id(parameter) in held for held in members)]
        groups[0]["params"] += others
        return groups

    def gradients_of(self, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
        """The gradients that the script was given, or else those that the parameters hold."""
        if self.given is not None:
            return [self.given.get(id(parameter)) for parameter in parameters]
        unreached = self.held - self.touched if self.parts else set()
        return [None if id(parameter) in unreached else parameter.grad for parameter in parameters]

    def read_options(self) -> None:
        """Take the options that the script's optimizer has now: those of the coming step."""
        optimizer = self.stands_for()
        groups = getattr(optimizer, "param_groups", None)
        if optimizer is None:
            self.options = []
        elif isinstance(groups, list) and groups and all(isinstance(group, dict) for group in groups):
            self.options = [{**_options(group), "members": _identities(group.get("params"))} for group in groups]
        else:
            self.options = [{**_options(_attributes(optimizer)), "members": set()}]

    def mark(self) -> None:
        """Remember how the parameters are now: all of them at first, later a few."""
        mine = self.parameters()
        some = mine if self.steps < 2 else mine[:: -(-len(mine) // _MARKED) or 1]
        self.marks = [Mark(parameter) for parameter in some]

    def changed(self) -> list[torch.Tensor] | None:
        """The marked parameters that have changed; None when some no longer exist."""
        states = [mark.changed() for mark in self.marks]
        if None in states or not states:
            return None
        if not any(states):
            states = self._written_through_data()
        tensors = [mark.reference() for mark in self.marks]
        return [tensor for tensor, state in zip(tensors, states, strict=True) if state and tensor is not None]

    def _written_through_data(self) -> list[bool | None]:
        """Which marked parameters on a device were changed through `.data`, which no version counter tells.

        To compare values waits for the device: that is done a few times at the start. Later it is taken for a step
        that the gradients were cleared.
        """
        away = any(mark.elsewhere is not None for mark in self.marks)
        if not away or self.gradients is None or gradient_state(self) == self.gradients:
            return [False] * len(self.marks)
        if not self.by_data and self._looks_left:
            self._looks_left -= 1
            states: list[bool | None] = [mark.differs() for mark in self.marks]
            self.by_data = any(states)
            return states
        return [self.by_data] * len(self.marks)

    def closed(self, backwards: int) -> None:
        """A step was closed, of so many backwards."""
        self.steps += 1
        self.micro_steps = max(1, backwards)
        self.mark()

    def counts(self) -> bool:
        """Whether it is known, or likely, to be the training: only then anything is measured."""
        return not self.trial and (self.early or self.steps > 0)

    def keep(self, parameters: Sequence[torch.Tensor]) -> None:
        """Hold these only."""
        self.held = {id(parameter) for parameter in parameters}
        self.references = [weakref.ref(parameter) for parameter in parameters]
        self.shapes = [(parameter.shape, parameter.dtype) for parameter in parameters]

    def extend(self, parameters: Sequence[torch.Tensor]) -> None:
        """Take in tensors that were found to change as well, at a backward that reached both."""
        self.parts, self.gradients, self.touched = True, None, {*self.held, *(id(one) for one in parameters)}
        self.keep([*self.parameters(), *parameters])

    def fits(self, parameters: Sequence[torch.Tensor]) -> bool:
        """Whether these can take the parameters' places: as many, of the same shapes and types."""
        return self.shapes == [(parameter.shape, parameter.dtype) for parameter in parameters]

    def resembles(self, parameters: Sequence[torch.Tensor]) -> bool:
        """Whether these are nearly as the parameters were: moved by a step rather than drawn again."""
        if len(self.marks) != len(parameters):
            return self.replaced
        return all(mark.near(parameter) for mark, parameter in zip(self.marks, parameters, strict=True))


def gradient_state(hand: Hand) -> list[Any]:
    """What tells that a backward has given the parameters a gradient, or that the script has cleared it."""
    mine = hand.parameters()
    looked = mine if hand.parts else mine[:: -(-len(mine) // _LOOKED) or 1]
    grads = [parameter.grad for parameter in looked]
    return [None if grad is None else (id(grad), version_of(grad)) for grad in grads]


def make(parameters: Sequence[torch.Tensor], names: dict[int, str]) -> Hand:
    """The hand that changes `parameters`, under the name of the script's own optimizer where it has one."""
    optimizer = _find_optimizer({id(parameter) for parameter in parameters})
    name = BY_HAND if optimizer is None else type(optimizer).__name__
    hand: Hand = type(name, (Hand,), {})(parameters, optimizer, names)
    hand.read_options()
    return hand


def _find_optimizer(wanted: set[int]) -> Any:
    """The script's object with a method `step` that holds one of these tensors, and is not torch's."""
    for thing in _candidates():
        if isinstance(thing, torch.optim.Optimizer | torch.nn.Module | type):
            continue
        if any("step" in vars(kind) for kind in type(thing).__mro__) and _holds(thing, wanted):
            return thing
    return None


def _candidates() -> Iterator[Any]:
    """The values of the script's variables, then the attributes of those that are objects of its classes."""
    seen: set[int] = set()
    values = [value for names in namespaces() for value in list(names.values())]
    own = [value for value in values if _attributes(value) and not isinstance(value, type)]
    yield from own
    for value in own[:_MOST_ITEMS]:
        if id(value) in seen or type(value).__module__.partition(".")[0] in ("torch", "numpy", "builtins"):
            continue
        seen.add(id(value))
        yield from [item for item in list(_attributes(value).values()) if _attributes(item)]


def _attributes(thing: Any) -> dict[str, Any]:
    """The object's own attributes, without running any code of its class."""
    try:
        found = object.__getattribute__(thing, "__dict__")
    except Exception:
        return {}
    return found if isinstance(found, dict) else {}


def _holds(thing: Any, wanted: set[int]) -> bool:
    for value in list(_attributes(thing).values()):
        if not isinstance(value, list | tuple | dict) or not len(value):
            continue
        if _identities(value) & wanted:
            return True
        groups = value if isinstance(value, list) else []
        if any(isinstance(group, dict) and _identities(group.get("params")) & wanted for group in groups[:1000]):
            return True
    return False


def _identities(value: Any) -> set[int]:
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list | tuple):
        return set()
    found: set[int] = set()
    for item in items[:_MOST_ITEMS]:
        if isinstance(item, torch.Tensor):
            found.add(id(item))
        elif isinstance(item, tuple):  # of named_parameters()
            found |= {id(part) for part in item if isinstance(part, torch.Tensor)}
    return found


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """Learning rate, decay and momentum by torch's names, as far as they are found."""
    found: dict[str, Any] = {name: values[name] for name in ("weight_decay", "momentum", "betas") if name in values}
    rate = next((values[name] for name in _RATES if name in values), None)
    return found if rate is None else {"lr": rate, **found}


def _numbers(optimizer: Any) -> dict[str, Any]:
    """The numeric options of the script's optimizer."""
    if optimizer is None:
        return {}
    attributes = _attributes(optimizer)
    defaults = attributes.get("defaults")
    source = defaults if isinstance(defaults, dict) else attributes
    return {str(name): value for name, value in source.items() if isinstance(value, bool | int | float | tuple)}


def _reference(optimizer: Any) -> Any:
    try:
        return weakref.ref(optimizer) if optimizer is not None else lambda: None
    except TypeError:  # a class with __slots__
        return lambda: None
