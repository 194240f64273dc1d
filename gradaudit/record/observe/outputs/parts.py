"""Numbers of sampled calls in equal parts of a training: when all parts are full, two make one."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

MOST = 16  # parts; the last one begins in the last eighth of the calls
SPARSE = 4  # one training call in so many is looked at at first: a look costs as much as some hundred calls
COSTLY = 16  # where a look reads very many numbers


@dataclass(eq=False)
class Parts:
    """Numbers on their device, one tensor a part. Neither the parts nor the calls looked at grow with the training."""

    join: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of two parts, one
    held: list[torch.Tensor] = field(default_factory=list)
    calls: int = 0
    stride: int = SPARSE  # one in so many calls is looked at

    def due(self) -> bool:
        """Count a call; whether it is looked at."""
        self.calls += 1
        return (self.calls - 1) % self.stride == 0

    def add(self, numbers: torch.Tensor) -> None:
        """Take in a call that was looked at; of another shape or device than the first, nothing."""
        held = self.held
        if held and (held[0].shape != numbers.shape or held[0].device != numbers.device):
            return
        if len(held) == MOST:
            held = [self.join(*held[place : place + 2]) for place in range(0, MOST, 2)]
            self.stride *= 2
        # A list of its own: the writer's thread may be reading the one before.
        self.held = [*held, numbers]
