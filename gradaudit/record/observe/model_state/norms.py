"""How the running statistics of BatchNorm modules move."""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gradaudit.record.observe.model_state.looks import Look
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.schema import NormFacts

MOST = 500
_EVALUATIONS = 4  # looked at in any case
_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Norms:
    """The BatchNorm modules of the recorded models that keep running statistics."""

    def __init__(self) -> None:
        self._modules: list[tuple[weakref.ref[nn.Module], str, float | None, bool]] = []
        self._first: Look | None = None
        self._evaluated: Look | None = None
        self._last: Look | None = None
        self._evaluations = 0

    def begin(self, table: TensorTable, step: int) -> None:
        """Find the modules, and look at them for the first time."""
        numbers = table.numbers_of_modules()
        for root in table.living_roots():
            for module in root.modules():
                number = numbers.get(id(module), -1)
                if number >= 0 and _keeps(module) and len(self._modules) < MOST:
                    momentum = module.momentum
                    told = float(momentum) if isinstance(momentum, float | int) else None
                    self._modules.append((weakref.ref(module), table.modules[number].name, told, module.training))
        self._first = self._last = self._look(step)

    def look(self, step: int) -> None:
        """Look again."""
        if self._first is not None:
            self._last = self._look(step) or self._last

    def evaluated(self, step: int) -> None:
        """An evaluation begins: nothing changed since the last step."""
        if self._first is not None and self._evaluations < _EVALUATIONS:
            self._evaluations += 1
            self._last = self._evaluated = self._look(step) or self._last
        else:
            self._evaluated = self._last

    def _look(self, step: int) -> Look | None:
        modules = [reference() for reference, *_ in self._modules]
        if not modules or any(module is None or not _keeps(module) for module in modules):
            return None
        with torch.no_grad():
            rows = [_row(module) for module in modules]
            device = rows[0].device
            values = torch.stack([row.to(device, non_blocking=True) for row in rows])
        return Look.of(step, values)

    def facts(self) -> list[NormFacts]:
        """What goes into run.json; asked by the writer's thread."""
        first, evaluated, last = self._first, self._evaluated, self._last
        if first is None or last is None:
            return []
        found = []
        for index, (_, name, momentum, training) in enumerate(list(self._modules)):
            rows = [_told(look, index) for look in (first, evaluated, last)]
            facts = NormFacts(
                name=name, momentum=momentum, training=training, first=rows[0], evaluated=rows[1], last=rows[2],
                moved=rows[0][2:] != rows[2][2:],
            )  # fmt: skip
            found.append(facts)
        return found


def _keeps(module: Any) -> bool:
    """Whether a module is a BatchNorm with running statistics that can be read."""
    if not isinstance(module, _KINDS):
        return False
    return all(type(each) is torch.Tensor and not each.is_meta for each in (module.running_mean, module.running_var))


def _row(module: Any) -> torch.Tensor:
    """[3]: batches counted, and the distances of mean and variance from 0 and 1."""
    mean, variance, batches = module.running_mean, module.running_var, module.num_batches_tracked
    here = isinstance(batches, torch.Tensor) and batches.device == mean.device
    counted = batches.float() if here else torch.full((), -1.0, device=mean.device)
    return torch.stack([counted, mean.float().norm(), (variance.float() - 1).norm()])


def _told(look: Look | None, index: int) -> list[float | None]:
    values: Sequence[float] = [] if look is None else look.numbers()[index].tolist()
    return [float(look.step), *(value if value == value else None for value in values)] if look is not None else []
