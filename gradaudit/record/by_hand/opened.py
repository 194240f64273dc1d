"""A backward that a step may follow: what is measured at once, and what the update says when it is found."""

import math
import time
from typing import Any

import numpy
import torch

from gradaudit.record.by_hand.graph import sample_of
from gradaudit.record.by_hand.hand import Hand
from gradaudit.record.by_hand.rate import UNKNOWN, Solved, solve
from gradaudit.record.internals import version_of
from gradaudit.record.measure.stats import COLUMNS
from gradaudit.record.measuring import measure, measure_update
from gradaudit.record.observe.parameter_set import ParameterSet
from gradaudit.record.storage.step_record import TensorStatistics
from gradaudit.record.storage.step_row import open_record
from gradaudit.record.storage.steps import release

_DESCENDS = 0.1  # the least cosine of the first update with the gradient, where it may be no training at all
_NORM = COLUMNS.index("gradient_norm")


class Opened:
    """One backward, or several whose gradients were accumulated."""

    def __init__(self, hand: Hand, between: Any) -> None:
        self.hand, self.between = hand, between
        self.backwards = 0
        self.last = 0  # which backward of the thread it was
        self.crossed = False  # one of torch's optimizers stepped since
        self.time, self.training = 0.0, -1
        self.measured: TensorStatistics | None = None
        self.parameter_set: ParameterSet | None = None
        self.samples: list[Any] = []
        self._kept: tuple[torch.Tensor, int, torch.Tensor] | None = None  # a gradient, its version and its values
        self._few: list[tuple[int, torch.Tensor, torch.Tensor]] = []  # place, elements of its weights and gradients
        self._cosine = math.nan
        self.complete = False  # the weights were looked at after the update, too

    def at(self, number: int) -> "Opened":
        """One more backward has just run, the thread's with this number."""
        self.backwards += 1
        self.last = number
        self.crossed = False
        self.time = time.perf_counter()
        self.hand.read_options()
        return self

    def look(self, recording: Any) -> None:
        """Measure the gradients, and the weights before the update, if this step is one of those measured."""
        self.drop()
        if not (self._measure(recording) and self.hand.steps):
            self.glance()
        elif self.between.undisturbed(self.hand.held):
            self._keep_one(self.hand.gradients_of(self.hand.parameters()))

    def glance(self) -> None:
        """Look at a few elements only."""
        if not self.between.undisturbed(self.hand.held):
            return
        parameters = self.hand.parameters()
        gradients = self.hand.gradients_of(parameters)
        self._keep_one(gradients)
        self._few = []
        places = {id(parameter): place for place, parameter in enumerate(parameters)}
        for mark in self.hand.marks:
            place = places.get(id(mark.reference()), -1)
            gradient = gradients[place] if place >= 0 else None
            sample = None if gradient is None else sample_of(gradient)
            if sample is not None and mark.sample is not None:
                self._few.append((place, mark.sample, sample))

    def _measure(self, recording: Any) -> bool:
        if not recording.takes(self.hand):
            return False
        step, due = recording.coming(self.hand)
        self.hand.identifiers = recording.table.identifiers_of(self.hand.parameters())
        if due:
            found = measure(recording, self.hand, step)
            self.parameter_set, self.measured = found if found is not None else (None, None)
        return self.measured is not None

    def record_step(self, recording: Any, started: float) -> None:
        """The parameters were changed: the record of one step more."""
        hand, measured = self.hand, self.measured
        if not recording.takes(hand):
            return
        # At the end the model may be gone, and the set that it had is left.
        parameter_set = self.parameter_set or recording.table.unchecked_parameter_set(hand)
        if parameter_set.parameters() is not None:
            parameter_set = recording.table.unchecked_parameter_set(hand)
            hand.identifiers = recording.table.identifiers_of(hand.parameters())
        if not self.complete:
            # Half a measurement reads as weights that are no numbers.
            self.drop()
            measured = None
        record = open_record(recording, hand, parameter_set, self.time, self.between)
        record.samples = self.samples
        record.row.recorded = measured is not None
        if self.training >= 0:
            record.row.training = self.training
        if measured is not None:
            measured.owned = recording.table.owned_by(parameter_set.optimizer, measured.identifiers.tolist())
            record.tensors = measured
        recording.finish(parameter_set, record, started)

    def drop(self) -> None:
        """Throw away what was measured."""
        if self.measured is not None:
            release([self.measured])
        self.measured, self.parameter_set, self._few, self._kept = None, None, [], None

    def left_alone(self, changed: list[torch.Tensor]) -> set[int]:
        """The parameters that stay although such a gradient moves others: the script does not change them."""
        moved = {id(tensor) for tensor in changed}
        mine = self.hand.parameters()
        if len(mine) != len(self.hand.references):
            return set()
        least, still = math.inf, []
        for place, weight, gradient in self._few:
            after, size = sample_of(mine[place]), float(gradient.norm())
            if id(mine[place]) not in moved:
                still.append((id(mine[place]), weight, gradient, _rounding(mine[place])))
            elif after is not None and size:
                least = min(least, float((after - weight).norm()) / size)
        return {
            key
            for key, weight, gradient, rounding in still
            if bool((least * gradient.abs() > 4 * rounding * weight.abs()).any())
        }

    def finish(self, recording: Any) -> None:
        """The update was made: look at the weights again, and solve it for the learning rate."""
        solved, parameters = UNKNOWN, self.parameter_set.parameters() if self.parameter_set is not None else None
        factor = self._factor()
        if self.measured is not None and self.parameter_set is not None and parameters is not None:
            sampled = self.parameter_set.sampler.sampled(parameters)
            if sampled is not None:
                weight, after, gradient, counts = sampled
                reached = [gradient is not None for gradient in self.measured.gradients[:, _NORM]]
                rounding = numpy.repeat([_rounding(parameter) for parameter in parameters], counts)
                mine = numpy.repeat(self.parameter_set.owned & numpy.asarray(reached), counts)
                weight, after, gradient, rounding = (part[mine] for part in (weight, after, gradient, rounding))
                self._cosine = _cosine(after - weight, gradient)
                solved = solve(weight, after, gradient, rounding)
            measure_update(recording, self.parameter_set, self.measured)
            self.complete = True
        elif self._few:
            solved = self._solve_few()
        self.hand.solved = Solved(solved.rate / factor, solved.decay * factor)
        if self.hand.solved.rate < 0:
            self.hand.defaults["maximize"] = True

    def descends(self) -> bool:
        """Whether the update follows the gradient, down or up."""
        return abs(self._cosine) >= _DESCENDS

    def _keep_one(self, gradients: list[torch.Tensor | None]) -> None:
        """Hold the smallest gradient and its values: the script may change gradients before it uses them."""
        able = [
            gradient
            for gradient in gradients
            if gradient is not None and gradient.is_cpu and gradient.layout == torch.strided and gradient.numel()
        ]
        if able:
            smallest = min(able, key=torch.Tensor.numel).detach()
            self._kept = smallest, version_of(smallest), smallest.clone()

    def _factor(self) -> float:
        """What the script multiplied the gradients with; 1 when they are as they were, NaN when nobody can say."""
        if self._kept is None:
            return math.nan
        gradient, version, before = self._kept
        now, was = gradient.double().flatten().numpy(), before.double().flatten().numpy()
        if not now.any() and was.any():
            # Set to zero after the update: the only thing that was done to it?
            return 1.0 if version_of(gradient) - version <= 1 else math.nan
        if (now == was).all():
            return 1.0
        with numpy.errstate(all="ignore"):
            factor = float(now @ was / (was @ was))
            apart = numpy.abs(now - factor * was)
            return factor if (apart <= 4 * _rounding(gradient) * numpy.abs(now)).all() else math.nan

    def _solve_few(self) -> Solved:
        parameters = self.hand.parameters()
        if len(parameters) != len(self.hand.references):
            return UNKNOWN
        columns: list[list[Any]] = [[], [], [], []]
        for place, weight, gradient in self._few:
            after = sample_of(parameters[place])
            if after is None or after.shape != weight.shape or gradient.shape != weight.shape:
                return UNKNOWN
            rounding = torch.full(weight.shape, _rounding(parameters[place]))
            for column, part in zip(columns, (weight, after, gradient, rounding), strict=True):
                column.append(part.double().numpy())
        return solve(*(numpy.concatenate(column) for column in columns))


def _rounding(tensor: torch.Tensor) -> float:
    return torch.finfo(tensor.dtype).eps if tensor.is_floating_point() else math.nan


def _cosine(one: Any, other: Any) -> float:
    size = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / size if size else 0.0
