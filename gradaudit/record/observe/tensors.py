"""Which tensors a run has: names, owners and identifiers, found when an optimizer makes its first step."""

import weakref
from collections.abc import Sequence, Set
from typing import Any

import msgspec
import numpy
import torch
from torch import nn

from gradaudit.record.measure.device import DeviceStatistics
from gradaudit.record.measure.rows import counter_for
from gradaudit.record.measure.sampler import ParameterSampler, device_of
from gradaudit.record.observe import param_groups
from gradaudit.record.observe.naming import describe, find_roots, label_of, unlike, unwrap, walk
from gradaudit.record.observe.optimizers import OptimizerLike, add
from gradaudit.record.observe.parameter_set import ParameterSet
from gradaudit.record.observe.walking import Way, holding, in_training, lit, steadily, way_to_training
from gradaudit.record.observers import EMBEDDING_ROWS, NAMES, Observers
from gradaudit.schema import ModuleFacts, OptimizerFacts, TensorFacts

# A script that builds a model for each of its million episodes is followed up to here; beyond, a record would
# be nothing but names.
MOST_TENSORS, MOST_OPTIMIZERS = 50_000, 5_000


class TensorTable:
    """All tensors of the run. Identifiers never change; names may gain a label when a second model appears."""

    def __init__(self, observers: Observers, models: Sequence[nn.Module] = ()) -> None:
        self.observers = observers
        self.roots: list[weakref.ref[nn.Module]] = [weakref.ref(model) for model in models]
        self.way: Way = []  # to a module that was in training mode when last looked
        self.facts: list[TensorFacts] = []
        self.modules: list[ModuleFacts] = []
        self.optimizers: list[OptimizerFacts] = []
        self.parameter_sets: dict[int, ParameterSet] = {}
        self.identifier: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self.owner: dict[int, tuple[int, int]] = {}  # identifier -> optimizer, group
        self.probed: dict[int, int] = {}  # identifier -> elements sampled; of a freed tensor, too
        self._next = 0
        # By class and addresses of the parameters, which are those of others once these are gone.
        self.same: dict[tuple[str, frozenset[int]], tuple[int, list[weakref.ref[torch.Tensor]]]] = {}
        self.numbers: weakref.WeakKeyDictionary[OptimizerLike, int] = weakref.WeakKeyDictionary()
        self._last: tuple[weakref.ref[OptimizerLike], int] | None = None  # the optimizer asked for last, and its number

    def living_roots(self) -> list[nn.Module]:
        """The outermost modules that still exist."""
        return [root for reference in self.roots if (root := reference()) is not None]

    def numbers_of_modules(self) -> dict[int, int]:
        """The index in run.json of each module, by identity."""
        modules = [id(module) for root in self.living_roots() for _, module in walk(root)]
        # A model may have gone since the modules were numbered. Of a module met twice the first number holds.
        known = len(modules) == len(self.modules)
        return {modules[number]: number for number in reversed(range(len(modules)))} if known else {}

    def training(self, reached: Set[int] | None = None) -> int:
        """1 when a recorded model, or one that holds what is `reached`, is in training mode, else 0; -1 of none."""
        if reached is not None:
            roots = holding(reached, self.living_roots())
            return int(any(in_training(unwrap(root)) for root in roots)) if roots else -1
        # Asked several times a step: as a rule the flags that told it last still tell it.
        if not lit(self.way):
            self.way = next(filter(None, (way_to_training(unwrap(root)) for root in self.living_roots())), [])
        return 1 if self.way else 0 if self.living_roots() else -1

    def sharded(self) -> bool:
        """Whether every rank holds a part of the tensors; else all ranks have the same and rank 0 speaks for them."""
        return any(facts.placements for facts in self.facts)

    def takes(self, optimizer: OptimizerLike) -> bool:
        """Whether the steps of this optimizer are recorded: it is known, or there is room for one more."""
        if self._last is not None and self._last[0]() is optimizer:
            return True
        if optimizer in self.numbers:
            return True
        return len(self.optimizers) < MOST_OPTIMIZERS and len(self.facts) < MOST_TENSORS

    def away(self) -> bool:
        """Whether any value may be on a device that is not the CPU."""
        on_device = any(parameter_set.sampler.device.type != "cpu" for parameter_set in self.parameter_sets.values())
        return on_device or bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]

    def knows(self, optimizer: OptimizerLike) -> bool:
        """Whether the optimizer has made a step."""
        return optimizer in self.numbers

    def identifiers_of(self, parameters: Sequence[torch.Tensor]) -> list[int]:
        """The identifiers of these tensors."""
        return [self._identify(parameter) for parameter in parameters]

    def owned_by(self, number: int, identifiers: Sequence[int]) -> "numpy.ndarray[Any, numpy.dtype[numpy.bool_]]":
        """Which of these tensors the optimizer holds."""
        return numpy.asarray([self.owner.get(one, (-1, -1))[0] == number for one in identifiers], dtype=bool)

    def number(self, optimizer: OptimizerLike) -> int:
        """The optimizer's index; a new one for an optimizer not seen before."""
        # A dictionary of weak keys takes several times as long.
        if self._last is not None and self._last[0]() is optimizer:
            return self._last[1]
        if optimizer not in self.numbers:
            # An optimizer built again for the same parameters, each epoch perhaps, goes on where the last one was.
            held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            key = (type(optimizer).__name__, frozenset(map(id, held)))
            number, references = self.same.get(key, (-1, []))
            if number < 0 or any(reference() is None for reference in references):
                number = len(self.optimizers)
                self.same[key] = number, [weakref.ref(parameter) for parameter in held]
                self.optimizers.append(param_groups.facts_of(number, optimizer))
            self.numbers[optimizer] = number
            if isinstance(optimizer, torch.optim.Optimizer):
                add(optimizer)  # one that was made before the recorder was
        self._last = weakref.ref(optimizer), self.numbers[optimizer]
        return self._last[1]

    def unchecked_parameter_set(self, optimizer: OptimizerLike) -> ParameterSet:
        """The set of an optimizer, made if there is none; whether each parameter is still the same is not checked."""
        parameter_set = self.parameter_sets.get(self.number(optimizer))
        if parameter_set is None or not param_groups.have_shape(optimizer.param_groups, parameter_set.shape):
            parameter_set, _ = self.parameter_set(optimizer)
        return parameter_set

    def parameter_set(self, optimizer: OptimizerLike) -> tuple[ParameterSet, list[torch.Tensor]]:
        """The set of an optimizer and its parameters; made anew when groups were added or parameters replaced."""
        number = self.number(optimizer)
        shape = tuple(len(group["params"]) for group in optimizer.param_groups)
        parameter_set = self.parameter_sets.get(number)
        if parameter_set is not None and parameter_set.shape == shape:
            parameters = parameter_set.parameters()
            if parameters is not None and device_of(parameters) == parameter_set.sampler.device:
                return parameter_set, parameters
        self.resolve(number, optimizer)
        parameter_set = self.parameter_sets[number]
        return parameter_set, parameter_set.parameters() or []

    def resolve(self, number: int, optimizer: OptimizerLike) -> None:
        """Find the names and owners of an optimizer's tensors, and make its set anew."""
        self._forget_the_dead()
        mine = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        held = {id(parameter) for root in self.living_roots() for parameter in root.parameters()}
        missing = [parameter for parameter in mine if id(parameter) not in held]
        if missing:
            found_roots = self.observers.call(NAMES, steadily, find_roots, missing, default=())
            self.roots += [weakref.ref(root) for root in found_roots]
        known = [alive for reference, _ in self.identifier.values() if (alive := reference()) is not None]
        # Without names the parameters are numbered.
        given = getattr(optimizer, "names", {})  # of a training by hand
        described, self.modules = self.observers.call(
            NAMES, steadily, describe, self.living_roots(), [*known, *mine], given
        ) or describe([], [*known, *mine])
        table = {facts.id: facts for facts in self.facts}
        found: list[tuple[torch.Tensor, TensorFacts]] = []
        for parameter, facts in described:
            identifier = self._identify(parameter)
            # What no module holds any more, as it was replaced at a step made by hand, keeps its name.
            kept = table.get(identifier, facts) if not facts.module_class else facts
            found.append((parameter, msgspec.structs.replace(kept, id=identifier)))
        for index, group in enumerate(optimizer.param_groups):
            for parameter in group["params"]:
                self.owner.setdefault(self._identify(parameter), (number, index))
        for _, facts in found:
            owner, group_index = self.owner.get(facts.id, (-1, -1))
            # What no optimizer holds is looked at with the optimizer that its model was found by.
            before = table.get(facts.id)
            carrier = owner if owner >= 0 else number if before is None else before.recorded_with
            table[facts.id] = msgspec.structs.replace(facts, optimizer=owner, group=group_index, recorded_with=carrier)
        self.facts = [table[identifier] for identifier in sorted(table)]
        if len(self.optimizers) > 1:
            self._label_optimizers()
        recorded_with: dict[int, list[torch.Tensor]] = {other: [] for other in (number, *self.parameter_sets)}
        for parameter, facts in found:
            recorded_with.setdefault(table[facts.id].recorded_with, []).append(parameter)
        for other in {number, *self.parameter_sets}:
            self._make_plan(other, recorded_with[other])
        self.parameter_sets[number].shape = tuple(len(group["params"]) for group in optimizer.param_groups)

    def _forget_the_dead(self) -> None:
        """Let go of what was measured for models that no longer exist; their facts stay, for the rows they have."""
        self.roots = [reference for reference in self.roots if reference() is not None]
        self.identifier = {key: entry for key, entry in self.identifier.items() if entry[0]() is not None}
        for number, parameter_set in list(self.parameter_sets.items()):
            if parameter_set.references and all(reference() is None for reference in parameter_set.references):
                del self.parameter_sets[number]

    def _identify(self, parameter: torch.Tensor) -> int:
        entry = self.identifier.get(id(parameter))
        if entry is None or entry[0]() is not parameter:
            # The address of a freed tensor may be used again: a new tensor is never an old identifier.
            entry = (weakref.ref(parameter), self._next)
            self._next += 1
            self.identifier[id(parameter)] = entry
        return entry[1]

    def _make_plan(self, number: int, parameters: list[torch.Tensor]) -> None:
        identifiers = [self._identify(parameter) for parameter in parameters]
        old = self.parameter_sets.get(number)
        device = device_of(parameters)
        owned = self.owned_by(number, identifiers)
        if old is not None and old.identifiers.tolist() == identifiers and old.sampler.device == device:
            # Parameters that were nobody's may have been added to a group; steps on their way keep the array they had.
            old.owned = owned
            return
        table = {facts.id: facts for facts in self.facts}
        embeddings = {
            position for position, identifier in enumerate(identifiers) if table[identifier].role == "embedding"
        }
        sampler = ParameterSampler(parameters, scattered=embeddings)
        parameter_set = ParameterSet(
            optimizer=number,
            shape=old.shape if old else (),
            references=[weakref.ref(parameter) for parameter in parameters],
            identifiers=numpy.asarray(identifiers, dtype=numpy.int32),
            owned=owned,
            sampler=sampler,
            statistics=DeviceStatistics(parameters, sampler) if device.type == "cuda" else None,
            identities=frozenset(id(parameter) for parameter in parameters),
        )
        for identifier, probed in zip(identifiers, sampler.counts.tolist(), strict=True):
            # Of two samples the smaller one is what all its steps are known by.
            self.probed[identifier] = min(probed, self.probed.get(identifier, probed))
        for position, (identifier, parameter) in enumerate(zip(identifiers, parameters, strict=True)):
            kind = counter_for(table[identifier], parameter)
            counter = self.observers.call(EMBEDDING_ROWS, kind, parameter) if kind else None
            if counter is not None:
                parameter_set.counters[position] = counter
        self.parameter_sets[number] = parameter_set

    def _label_optimizers(self) -> None:
        for optimizer, number in list(self.numbers.items()):
            facts = self.optimizers[number]
            label = facts.label or unlike(label_of(optimizer), [other.label for other in self.optimizers])
            self.optimizers[number] = msgspec.structs.replace(facts, label=label)

    def facts_now(self) -> list[TensorFacts]:
        """The facts, with what changes on the way: a frozen tensor may have been unfrozen, or a sample made smaller."""
        flags = {
            identifier: parameter.requires_grad
            for reference, identifier in list(self.identifier.values())
            if (parameter := reference()) is not None
        }
        # Functional training gives its parameters to a function, and they need no flag.
        by_hand = {number for optimizer, number in list(self.numbers.items()) if hasattr(optimizer, "given")}
        trained = {identifier for identifier, (owner, _) in self.owner.items() if owner in by_hand}
        return [
            msgspec.structs.replace(
                facts,
                requires_grad=flags.get(facts.id, facts.requires_grad) or facts.id in trained,
                probed=self.probed.get(facts.id, -1),
            )
            for facts in self.facts
        ]
