"""The classes in a batch: how many different ones it holds, and how many a batch drawn at random would."""

from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

_MOST_CLASSES = 100_000
_MOST_LABELS = 4096  # of one batch


@dataclass
class Labels:
    """Distinct classes of single batches, and the counts of all."""

    counts: dict[int, int] = field(default_factory=dict)
    batches: list[tuple[int, int]] = field(default_factory=list)  # (labels, distinct) of each that was looked at

    def add(self, classes: int, target: torch.Tensor, ignored: int | None) -> None:
        """Take in the labels [examples] of one batch."""
        if not target.is_cpu or target.ndim != 1 or not 1 < len(target) <= _MOST_LABELS or classes > _MOST_CLASSES:
            return
        values = target.detach().numpy()
        values = values[(values >= 0) & (values < classes)]
        if ignored is not None:
            values = values[values != ignored]
        if len(values) < 2:
            return
        found, counts = numpy.unique(values, return_counts=True)
        self.batches.append((len(values), len(found)))
        for label, count in zip(found.tolist(), counts.tolist(), strict=True):
            self.counts[label] = self.counts.get(label, 0) + count

    def facts(self) -> dict[str, Any]:
        """The fields of `LoaderFacts`."""
        batches, counts = list(self.batches), numpy.array(list(self.counts.values()), dtype=numpy.float64)
        if not batches:
            return {}
        share = counts / counts.sum()
        # Batches are of a few sizes.
        drawn = {size: float((1 - (1 - share) ** size).sum()) for size in {size for size, _ in batches}}
        return {
            "classes": len(counts),
            "label_batches": len(batches),
            "labels_in_batch": sum(size for size, _ in batches) / len(batches),
            "distinct": sum(found for _, found in batches) / len(batches),
            "shuffled_distinct": sum(drawn[size] for size, _ in batches) / len(batches),
        }
