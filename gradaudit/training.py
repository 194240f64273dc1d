"""What one optimizer did in a run: its steps, its tensors and their statistics; and what is worked out once of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from gradaudit.schema import OptimizerFacts, TensorFacts

if TYPE_CHECKING:
    import numpy
    import pandas

    from gradaudit.reading.run import Run

    Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
    Integers = numpy.ndarray[Any, numpy.dtype[numpy.int64]]

Subject = TypeVar("Subject", bound="Run | Training")
Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


def signal(
    function: Callable[Concatenate[Subject, Parameters], Answer],
) -> Callable[Concatenate[Subject, Parameters], Answer]:
    """Work out `function(subject, ...)` once for each run or training and arguments; the answer must not be changed.

    Several diagnosers ask for the same series, and one audit asks for it once. The arguments must be hashable.
    """

    @wraps(function)
    def remembered(subject: Subject, /, *arguments: Parameters.args, **named: Parameters.kwargs) -> Answer:
        key = (function, arguments, tuple(named.items()))
        answers = subject.answers
        if key not in answers:
            answers[key] = function(subject, *arguments, **named)
        return cast("Answer", answers[key])

    return remembered


@dataclass(frozen=True, eq=False)
class Training:
    """What one optimizer did in a run. What it gives is read when first asked for, and must not be changed.

    >>> (training,) = gradaudit.load("runs/x").trainings
    >>> [tensor.name for tensor in training.tensors][:2]
    ['embedding.weight', 'conv1.weight']
    """

    run: "Run"
    id: int  # of the optimizer, in every table and in the facts of tensors
    tensors: tuple[TensorFacts, ...]  # those whose statistics are recorded at its steps, in depth order

    @cached_property
    def optimizer(self) -> OptimizerFacts | None:
        """The facts of the optimizer; None where the run has none of it."""
        return next((facts for facts in self.run.meta.optimizers if facts.id == self.id), None)

    @cached_property
    def steps(self) -> "pandas.DataFrame":
        """Its rows of table `steps`, in order."""
        steps = self.run.steps
        mine = steps["optimizer"].to_numpy() == self.id
        return steps.copy(deep=False) if mine.all() else steps[mine].reset_index(drop=True)

    @cached_property
    def recorded(self) -> "Integers":
        """[recorded steps]: those of its steps, counted by itself, at which tensor statistics exist, ascending."""
        import numpy

        layout = self.run.layouts.get(self.id)
        return layout.steps if layout is not None else numpy.zeros(0, numpy.int64)

    @cached_property
    def recorded_global_steps(self) -> "Integers":
        """[recorded steps]: the global step of each recorded step."""
        import numpy

        own, everywhere = (self.steps[name].to_numpy(dtype=numpy.int64) for name in ("step", "global_step"))
        if not len(own):
            return self.recorded
        place = numpy.clip(numpy.searchsorted(own, self.recorded), 0, len(own) - 1)
        # A part of `steps` may be lost while its statistics survive: those keep their own count.
        return numpy.where(own[place] == self.recorded, everywhere[place], self.recorded)

    def matrix(self, stat: str) -> "Floats":
        """[recorded steps, tensors] of one column of table `tensors`; NaN where there is no row.

        Rows follow `recorded`, columns `tensors`. Raises KeyError when the schema has no such column.

            >>> (training,) = gradaudit.load("runs/x").trainings
            >>> training.matrix("gradient_norm").shape == (len(training.recorded), len(training.tensors))
            True
        """
        import numpy

        found = self.run.matrices(stat).get(self.id)
        if found is None:
            return numpy.full((0, len(self.tensors)), numpy.nan)
        return numpy.asarray(found, dtype=numpy.float64)

    @cached_property
    def learning_rates(self) -> "Floats":
        """[steps, parameter groups]; NaN where a group did not exist yet."""
        return self.of_groups("learning_rate")

    def of_groups(self, column: str) -> "Floats":
        """[steps, parameter groups]: a column of lists of `steps`; NaN where a list is shorter.

        >>> (training,) = gradaudit.load("runs/x").trainings
        >>> training.of_groups("weight_decay").shape
        (300, 1)
        """
        import numpy

        lists = list(self.steps[column])
        if not lists:
            return numpy.zeros((0, 0))
        sizes = numpy.fromiter(map(len, lists), dtype=numpy.int64, count=len(lists))
        matrix = numpy.full((len(lists), int(sizes.max())), numpy.nan)
        matrix[numpy.arange(matrix.shape[1]) < sizes[:, None]] = numpy.concatenate(lists)
        return matrix

    @cached_property
    def answers(self) -> dict[Any, Any]:
        """What signals came to for this training."""
        return {}
