"""What one thread trains: which tensors a backward of it reaches, and what of others' it may look at."""

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

from gradaudit.record.observe.gathered import Gathered
from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.record.observe.parameter_set import ParameterSet
from gradaudit.record.observe.threads import PerThread, leaves

if TYPE_CHECKING:
    from gradaudit.record.storage.step_record import OpenStep


class TrainingThread:
    """The backwards and steps of one thread, beside those of all `threads`."""

    def __init__(self, shared: Gathered, threads: "PerThread[Any]") -> None:
        self._threads = threads
        self.shared, self.table, self.observers = shared, shared.table, shared.observers
        self.step: OpenStep | None = None  # between the hooks of an optimizer's step
        self.backwards = 0
        self.by_hand = False  # the last backward reached what is changed by hand
        self.running = False  # a backward of this thread is under way: the engine writes gradients
        self.stepped: set[int] = set()  # optimizers
        self.leaves: set[int] | None = None  # identities of what the last backward reached; None where it was not asked

    def updating(self) -> bool:
        """Whether an optimizer is updating the weights in this thread; a closure computes gradients first."""
        return self.step is not None and not self.step.closure

    def touches(self, parameter_set: ParameterSet) -> bool:
        """Whether a backward of this thread may be writing gradients of these tensors now, or a measured step is open.

        Its measurement is in the set, and another one would take its place.
        """
        measured = self.step is not None and self.step.measured and self.step.parameter_set is parameter_set
        return measured or (self.running and self.reaches(parameter_set.identities))

    def reaches(self, identities: Set[int]) -> bool:
        """Whether a backward of this thread gives gradients to these tensors, as far as is known."""
        return self.leaves is None or not identities.isdisjoint(self.leaves)

    def alone(self, parameter_set: ParameterSet) -> bool:
        """Whether no other thread writes gradients of these tensors while the recording's lock is held."""
        return not any(other.touches(parameter_set) for other in self._threads.others())

    def trains_alone(self) -> bool:
        """Whether no other thread has made a backward."""
        return len(self.shared.training) == 1 and not any(other.running for other in self._threads.others())

    def steps_alone(self, optimizer: OptimizerLike) -> bool:
        """Whether this thread steps the optimizer and no other does, nor writes its gradients now."""
        number = self.table.numbers.get(optimizer)
        parameter_set = self.table.parameter_sets.get(-1 if number is None else number)
        if parameter_set is None or number not in self.stepped or not self.alone(parameter_set):
            return False
        return not any(number in other.stepped for other in self._threads.others())

    def undisturbed(self, identities: Set[int]) -> bool:
        """The same for tensors that are in no set yet."""
        return not any(other.running and other.reaches(identities) for other in self._threads.others())

    def mode(self, roots: Sequence[Any], reached: Set[int] | None = None) -> int:
        """The mode of the models; where several threads train, of those that a backward from `roots` reaches."""
        if len(self.shared.training) < 2:
            return self.table.training()
        reached = leaves(roots) if reached is None else reached
        return -1 if reached is None else self.table.training(reached)
