"""What is measured of the parameters that are looked at with one optimizer."""

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from gradaudit.record.measure.device import DeviceStatistics
from gradaudit.record.measure.on_device import measure_on_device
from gradaudit.record.measure.ring import Slot
from gradaudit.record.measure.rows import OutputCounter, RowCounter, Snapshot
from gradaudit.record.measure.sampler import ParameterSampler
from gradaudit.record.measure.stats import ZERO_FRACTION, measure


@dataclass(eq=False)
class ParameterSet:
    """What is measured at the steps of one optimizer. Parameters are held weakly: a freed model stays freed."""

    optimizer: int
    shape: tuple[int, ...]  # parameters of each group when the set was made
    references: list["weakref.ref[torch.Tensor]"]
    identifiers: numpy.ndarray[Any, numpy.dtype[numpy.int32]]
    owned: numpy.ndarray[Any, numpy.dtype[numpy.bool_]]
    sampler: ParameterSampler
    counters: dict[int, RowCounter | OutputCounter] = field(default_factory=dict)  # by position in `references`
    recorded: int = 0
    statistics: DeviceStatistics | None = None  # on a CUDA device
    identities: frozenset[int] = frozenset()  # of the parameters, by which threads are told apart

    def measure(self, gradients: Sequence[torch.Tensor | None]) -> Any:
        """The statistics of the gradients: a numpy array on the CPU, a tensor or a slot of a ring elsewhere."""
        if self.statistics is not None:
            return self.statistics.measure(gradients)
        if self.sampler.device.type != "cpu":
            return measure_on_device(gradients, self.sampler.device)
        return measure(gradients)

    def sample_before_step(
        self, measured: Any, gradients: Sequence[torch.Tensor | None], parameters: Sequence[torch.Tensor]
    ) -> None:
        """Sample gradients and weights before a step; `measured` is what `measure` gave for it."""
        if self.statistics is None or not self.statistics.sample_before_step(measured, parameters):
            self.sampler.before(parameters, gradients)

    def sample_after_step(self, measured: Any, parameters: Sequence[torch.Tensor]) -> dict[str, Any]:
        """Sample the weights after the step; its columns, but for those that the slot of a ring holds."""
        if self.statistics is not None and isinstance(measured, Slot) and measured.probed:
            self.statistics.sample_after_step(measured, parameters)
            return {}
        return self.sampler.after(parameters)

    def count_rows(self, measured: Any, gradients: Sequence[torch.Tensor | None]) -> None:
        """Count the rows of embeddings and outputs that have a gradient."""
        on_host = isinstance(measured, numpy.ndarray)
        for position, counter in self.counters.items():
            counter.observe(gradients[position], measured[position, ZERO_FRACTION] if on_host else math.nan)

    def snapshots(self, parameters: Sequence[torch.Tensor]) -> list[tuple[int, Snapshot]]:
        """The facts of the rows so far, by the tensor's identifier."""
        return [
            (int(self.identifiers[position]), counter.snapshot(parameters[position]))
            for position, counter in self.counters.items()
        ]

    def parameters(self) -> list[torch.Tensor] | None:
        """The parameters, or None when one of them no longer exists."""
        alive = [reference() for reference in self.references]
        return None if any(parameter is None for parameter in alive) else alive  # type: ignore[return-value]
