"""Values that are looked at now and then, at no wait for the device: they are fetched by the writer's thread."""

from dataclasses import dataclass, field
from typing import Any

import torch

from gradaudit.record.measure.transfer import departures, to_host

FULL = 64  # steps up to which the steps of looks double
LONG = 1000  # steps from which on a look is rare enough to cost nothing
GROWTH, EARLY_GROWTH = 1.1, 1.25  # from then on: a look in the last tenth of any long run; and before


def after(step: int) -> int:
    """The step of the look that follows one at `step`."""
    if step < FULL:
        return max(2 * step, step + 1)
    return max(step + 1, int((GROWTH if step >= LONG else EARLY_GROWTH) * step))


@dataclass
class Look:
    """Numbers at one moment, on a device until somebody asks for them in the writer's thread."""

    step: int  # steps taken
    values: torch.Tensor | None
    ready: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, step: int, values: torch.Tensor) -> "Look":
        """Note when the values are complete."""
        return cls(step, values, departures([values]))

    def numbers(self) -> Any:
        """The values on the host; a second call gives them again."""
        if self.ready or (self.values is not None and self.values.device.type != "cpu"):
            self.values, self.ready = to_host([self.values], self.ready)[0], []
        return self.values.numpy() if self.values is not None else None
