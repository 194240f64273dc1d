"""When tensor statistics are recorded: every step at first, then as often as the budget allows."""

import math
from collections import deque
from statistics import median

FULL = 100  # steps recorded without gaps: most faults show here
SPARSEST = 6  # 2**6 steps: at least 1.5 % of a run is always seen
BUDGET = 0.01  # of the step's time


class Cadence:
    """Grids of 2**k steps nest, so ranks and sparser runs always share the coarser one."""

    def __init__(self, every: int | None) -> None:
        self.every = every
        self.exponent = 0
        self._costs: deque[float] = deque(maxlen=31)
        self._steps: deque[float] = deque(maxlen=31)

    def due(self, step: int) -> bool:
        """Whether statistics are recorded at this step."""
        if self.every is not None:
            return step % self.every == 0
        return step < FULL or step % 2**self.exponent == 0

    def note(self, step: int, cost: float | None, seconds: float) -> bool:
        """Take in what a step cost us and took in all, in seconds; True when the grid changed."""
        if cost is not None:
            self._costs.append(cost)
        if seconds > 0:
            self._steps.append(max(seconds - (cost or 0.0), 1e-6))
        if self.every is not None or step < FULL - 1 or (step + 1) % 64 or not self._costs or not self._steps:
            return False
        wanted = math.ceil(math.log2(max(1.0, median(self._costs) / (BUDGET * median(self._steps)))))
        wanted = min(wanted, SPARSEST)
        # One step back at a time: a moment of slow steps must not flood the disk.
        changed = max(wanted, self.exponent - 1)
        changed, self.exponent = self.exponent, changed
        return changed != self.exponent
