"""What a training by hand asks of the table of tensors that no optimizer of torch does."""

import weakref
from collections.abc import Sequence
from typing import Any

import msgspec
import torch

from gradaudit.record.observe.optimizers import known as optimizers
from gradaudit.record.observe.tensors import TensorTable


def forget(table: TensorTable, hand: Any, other: Any) -> None:
    """Take back an optimizer that was none: its tensors are nobody's, and looked at with the `other` one."""
    number = table.numbers.pop(hand, None)
    if number is None:
        return
    table.owner = {identifier: owner for identifier, owner in table.owner.items() if owner[0] != number}
    table.parameter_sets.pop(number, None)
    if number == len(table.optimizers) - 1:
        table.optimizers.pop()
        table.same = {key: other for key, other in table.same.items() if other[0] != number}
    table.facts = [
        msgspec.structs.replace(facts, optimizer=-1, group=-1, recorded_with=0) if facts.optimizer == number else facts
        for facts in table.facts
    ]
    if other is not None:
        table.resolve(table.number(other), other)


def disown(table: TensorTable, hand: Any) -> None:
    """Look anew at which tensors an optimizer holds: it holds less than was thought."""
    number = table.numbers.get(hand)
    if number is not None:
        table.owner = {identifier: owner for identifier, owner in table.owner.items() if owner[0] != number}
        table.resolve(number, hand)


def rebind(table: TensorTable, hand: Any, tensors: Sequence[torch.Tensor]) -> None:
    """Let new tensors take the places of the parameters of a script that makes them at each step."""
    parameter_set = table.parameter_sets.get(table.numbers.get(hand, -1))
    if parameter_set is None or len(hand.identifiers) != len(tensors):
        return
    taken = dict(zip(hand.identifiers, tensors, strict=True))
    table.identifier = {key: entry for key, entry in table.identifier.items() if entry[1] not in taken}
    for identifier, tensor in taken.items():
        table.identifier[id(tensor)] = (weakref.ref(tensor), identifier)
    parameter_set.references = [
        weakref.ref(taken[identifier]) if identifier in taken else reference
        for identifier, reference in zip(parameter_set.identifiers.tolist(), parameter_set.references, strict=True)
    ]
    parameter_set.identities = frozenset(
        id(tensor) for reference in parameter_set.references if (tensor := reference()) is not None
    )


def held_by_optimizers(table: TensorTable, stepped: bool) -> set[int]:
    """The identities of what torch's optimizers hold: of all of them, or of those alone that have `stepped`."""
    return {
        id(parameter)
        for optimizer in optimizers()
        if not stepped or table.knows(optimizer)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
