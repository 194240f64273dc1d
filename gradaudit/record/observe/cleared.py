"""What the gradients say before a backward: were they cleared, and does what was seen before still count?

Backwards whose gradients the script clears again before it steps, those of adversarial examples or the first of SAM,
are no micro-steps of that step. A script may have kept copies of them, to accumulate or to combine them: then the step
is not made with the gradients of the backwards that are left, and all of them count.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import compress, islice
from typing import Any

import torch

from gradaudit.record.internals import version_of
from gradaudit.record.measure.sharding import local
from gradaudit.record.observe.loss.seen import StepObservation
from gradaudit.record.observe.optimizers import ByHand, known, several_known

CLEARED = "cleared gradients"  # an observer

_STALE_LOOK = 4  # tensors looked at, to see whether gradients were zeroed
_FEW = 256  # elements of a gradient that are looked at first
_States = dict[int, tuple[int, int] | None]  # by parameter: its gradient's identity and version


@dataclass(eq=False)
class Gradients:
    """How the last backward of a thread found and left the gradients, by the optimizer that they are for."""

    wanted: bool = False  # somebody has to look after it
    held: set[int] = field(default_factory=set)  # optimizers that have any
    before: dict[int, _States] = field(default_factory=dict)  # of those whose gradients were cleared
    after: dict[int, _States] = field(default_factory=dict)


def look_for_cleared(between: Any, accumulates: bool) -> None:
    """Mark what was seen of gradients that are gone, before a backward that accumulates others in their place.

    `torch.autograd.grad` leaves none in the parameters: of those nothing is known.
    """
    seen, gradients = between.seen, between.gradients
    seen.given |= not accumulates
    gradients.wanted = False
    if seen.given:
        return
    if not (seen.backwards or seen.marks or several_known()) and not between.shared.by_hand():
        gradients.before = {}  # the first backward of the only optimizer: nothing was there to be cleared
        return
    owners = _owners(between)
    if seen.backwards:
        for owner in owners:
            # What one optimizer has not got may have gone to another, and was never there to be cleared.
            if (len(owners) == 1 or id(owner) in gradients.held) and cleared(_parameters(owner)):
                seen.mark(owner)
    gradients.before = {id(owner): _states(_parameters(owner)) for owner in owners if id(owner) in seen.marks}
    gradients.wanted = len(owners) > 1 or bool(seen.marks)


def note_gradients(between: Any) -> None:
    """Remember the gradients that a backward has left."""
    gradients, owners = between.gradients, _owners(between)
    gradients.held = {id(owner) for owner in owners if not cleared(_parameters(owner))}
    gradients.after = {id(owner): _states(_parameters(owner)) for owner in owners if id(owner) in gradients.before}


def counting(between: Any, seen: StepObservation, optimizer: Any) -> StepObservation:
    """What of `seen` counts for the step that the optimizer makes."""
    return seen.since(optimizer) if _made_with_the_last(between.gradients, optimizer) else seen


def _made_with_the_last(gradients: Gradients, optimizer: Any) -> bool:
    """Whether it is certain that the step is made with the gradients of the last backward as they lie."""
    if isinstance(optimizer, ByHand):
        return optimizer.follows_the_gradients()
    if not isinstance(optimizer, torch.optim.Optimizer):
        return False  # a framework's, which may accumulate in buffers of its own
    before, after = (states.get(id(optimizer), {}) for states in (gradients.before, gradients.after))
    given = {key: state for key, state in _states(_parameters(optimizer)).items() if state is not None}
    # Clipping and unscaling change a gradient in place; what is composed elsewhere is another tensor.
    same = all((left := after.get(key)) is not None and left[0] == state[0] for key, state in given.items())
    return same and any(before.get(key) != after[key] for key in given)


def _owners(between: Any) -> list[Any]:
    """The optimizers of torch and what is changed by hand; of several threads that train, what this one steps alone."""
    if between.trains_alone():
        return [*known(), *between.shared.by_hand()]
    return [optimizer for optimizer in known() if between.steps_alone(optimizer)]


def _parameters(owner: Any) -> Iterator[torch.Tensor]:
    if isinstance(owner, ByHand):
        return iter(owner.reached())
    return (parameter for group in owner.param_groups for parameter in group["params"])


def _states(parameters: Iterable[torch.Tensor]) -> _States:
    grads = ((id(parameter), parameter.grad) for parameter in parameters)
    return {key: None if grad is None else (id(grad), version_of(grad)) for key, grad in grads}


def cleared(parameters: Iterable[torch.Tensor]) -> bool:
    """Whether no gradient is left: absent, or zero where that is read without a wait; on a device it is there."""
    left = []
    for parameter in parameters:
        grad = parameter.grad
        if grad is None:
            continue
        if type(grad) is not torch.Tensor or not grad.is_cpu or grad.layout != torch.strided:
            return False
        flat = grad.detach().reshape(-1)
        if flat[:_FEW].any():
            return False
        left.append(flat[_FEW:])
    return not any(bool(rest.any()) for rest in left)


def look_for_stale(between: Any) -> None:
    """Were an optimizer's gradients absent or zero at some backward since its last step?

    Of optimizers that this thread steps: the gradients of others may be written at this moment.
    """
    found = between.shared.cleared
    parts = {between.table.numbers.get(hand): hand for hand in between.shared.by_hand() if hand.parts}
    for number, parameter_set in between.table.parameter_sets.items():
        if found.get(number) is True or number not in between.stepped or not between.alone(parameter_set):
            continue
        # Those of a frozen front part never have one, and those of no optimizer are nobody's to clear.
        owned = (reference() for reference in compress(parameter_set.references, parameter_set.owned))
        mine = parts[number].reached() if number in parts else owned
        given = (p.grad for p in mine if p is not None and p.grad is not None)
        looked = list(islice(given, _STALE_LOOK))
        looked = [local(grad.detach()) for grad in looked if grad.layout == torch.strided]
        # The parts that the next backward leaves out are not cleared for it.
        if not looked or (number in parts and any(p.grad is None for p in parts[number].reached())):
            found[number] = True
            continue
        zeros = torch.stack([(grad.reshape(-1)[:_FEW] == 0).all() for grad in looked])
        zero = zeros.any() if number in parts else zeros.all()
        before = found.get(number)
        found[number] = zero if before is None else zero | before
