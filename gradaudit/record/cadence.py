"""When tensor statistics are recorded: every step at first, then as often as the budget allows."""

import math
from collections import deque
from statistics import median

FULL = 100  # steps recorded without gaps: most faults show here
SPARSEST = 6  # 2**6 steps: at least 1.5 % of a run is always seen
BUDGET = 1.0  # percent of the step's time that recording may take
_LOOK = 64  # steps between two decisions
_LEFT = 0.1  # of the budget is always left for statistics, however much the rows of every step take


def in_last_tenth(step: int, every: int | None = None) -> bool:
    """Whether a table that seldom has rows gets one at a step, so that it has one in the last tenth of any run.

    The steps are the multiples of a power of two that is a tenth of the steps so far, or less; with `every` the
    recorded steps are counted.
    """
    number, rest = divmod(step, every or 1)
    return not rest and number % _tenth(number) == 0


def _tenth(number: int) -> int:
    return 1 << max(0, (number // 10).bit_length() - 1)


class Cadence:
    """Grids of 2**k steps nest, so ranks and sparser runs always share the coarser one.

    `every` fixes the grid; else k follows from what recording costs and `budget`, in percent, but the last tenth of a
    run always has a step with statistics.
    """

    def __init__(self, every: int | None = None, budget: float = BUDGET) -> None:
        self.every = every
        self.share = budget / 100
        self.exponent = 0
        self.recorded = self.left_out = 0  # steps with statistics, and those that were not due
        self._not_from = self._not_before = 0  # the first of some steps that are not due, and the one after the last
        self._with: deque[float] = deque(maxlen=9)  # seconds that steps with statistics cost
        self._without: deque[float] = deque(maxlen=31)
        self._steps: deque[float] = deque(maxlen=31)  # seconds of the training's own

    def due(self, step: int) -> bool:
        """Whether statistics are recorded at this step."""
        if self._not_from <= step < self._not_before:
            return False
        if self.every is not None:
            return step % self.every == 0
        if step < FULL:
            return True
        grid = min(2**self.exponent, _tenth(step))
        if step % grid:
            # The grid grows with the run: until its next multiple none is due.
            self._not_from, self._not_before = step, (step // grid + 1) * grid
            return False
        return True

    def note(self, step: int, recorded: bool, cost: float, seconds: float) -> bool:
        """Take in what a step cost us and took in all, in seconds; True when the grid changed."""
        self.recorded += recorded
        self.left_out += not self.due(step)
        if self.every is not None:
            return False
        (self._with if recorded else self._without).append(cost)
        if seconds > 0:
            self._steps.append(max(seconds - cost, 1e-6))
        if step < FULL - 1 or (step + 1 - FULL) % _LOOK or not self._with or not self._steps:
            return False
        allowed = self.share * median(self._steps)
        always = median(self._without) if self._without else 0.0
        left = max(allowed - always, _LEFT * allowed)
        wanted = math.ceil(math.log2(max(1.0, (median(self._with) - always) / left)))
        # One step back at a time: a moment of slow steps must not flood the disk.
        changed = max(min(wanted, SPARSEST), self.exponent - 1)
        changed, self.exponent = self.exponent, changed
        self._not_before = 0
        return changed != self.exponent


class Meter:
    """What recording costs, in seconds: `spent` in our methods, and the CPU time of the writer's thread."""

    def __init__(self) -> None:
        self.spent = 0.0
        self._accounted = self._written = self._writing = 0.0

    def of_step(self, more: float) -> float:
        """The cost of a step that ends now, with `more` seconds that `spent` does not hold yet."""
        cost = self.spent + more - self._accounted
        self._accounted += cost
        return cost + self._writing

    def note_writer(self, seconds: float, steps: int) -> None:
        """Take in the writer's time so far, at the hand-over of this many steps: each of the next costs as much."""
        self._writing, self._written = (seconds - self._written) / max(1, steps), seconds
