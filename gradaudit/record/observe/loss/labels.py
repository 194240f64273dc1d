"""The labels of the training targets, counted on the device or on the CPU: one `Kind` for each loss function."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from gradaudit.record.measure.host_loss import HostLoss
from gradaudit.record.observe.loss.targets import Targets, facts_of, observe, observe_on_host
from gradaudit.schema import LossFacts

CLASSIFICATION = ("cross_entropy", "nll_loss")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")

_MOST_CLASSES = 2_000_000  # counted; beyond this the counts would weigh more than the loss itself
LISTED_CLASSES = 1000
_MOST_OUTPUTS = 4096


class Ignored:
    """Whether a loss function ignores targets; of a device that is known once the writer has the counts."""

    def __init__(self) -> None:
        self.any = False
        self.none = 0  # calls that turned out to have no ignored target

    def note(self, count: int) -> None:
        """Take in how many targets of a call were ignored."""
        self.any |= count > 0
        self.none += not count


@dataclass
class Kind:
    """One loss function with one set of options, and its running label facts."""

    facts: LossFacts
    weights: torch.Tensor | None = None  # [classes]
    counts: torch.Tensor | None = None  # [classes]
    on_host: Any = None  # the same as a numpy array, if they are on the CPU
    targets: Targets | None = None  # of a regression
    positives: torch.Tensor | None = None  # [1 + outputs]: count, then the sum of each output's targets
    ragged: bool = False  # the examples of a binary loss have several numbers of outputs, or very many
    shared: bool = False  # one of too many kinds to keep the labels of each
    calls: int = 0  # training calls whose graph may be asked for the activation before the loss; -1: it varies
    swapped: bool = False  # its target came before its prediction when it was last called in training
    ignored: Ignored = field(default_factory=Ignored)


def count_labels(kind: Kind, target: torch.Tensor) -> None:
    """Count the targets of one call of a loss function, on their device."""
    facts = kind.facts
    if facts.classes and not facts.soft_targets:
        if facts.classes > _MOST_CLASSES:
            return
        if kind.counts is None:
            kind.counts = torch.zeros(facts.classes, dtype=torch.int64, device=target.device)
        flat = target.reshape(-1)
        inside = (flat >= 0) & (flat < facts.classes)
        if facts.ignore_index is not None:
            inside = inside & (flat != facts.ignore_index)
        kind.counts.scatter_add_(0, flat.clamp(0, facts.classes - 1).to(torch.int64), inside.to(torch.int64))
    elif facts.function in BINARY:
        outputs = _outputs_of(kind, target.shape)
        table = target.double().reshape(-1, outputs)
        seen = torch.cat([torch.full((1,), float(table.shape[0]), device=target.device), table.sum(dim=0)])
        if kind.positives is None or kind.positives.shape != seen.shape:
            kind.positives = torch.zeros_like(seen)
        kind.positives += seen
    elif facts.function in REGRESSION:
        kind.targets = observe(kind.targets, target)


def count_on_host(kind: Kind, found: HostLoss, shape: Sequence[int]) -> None:
    """The same for targets on the CPU, of this shape."""
    facts = kind.facts
    if found.labels is not None:
        if facts.classes > _MOST_CLASSES:
            return
        if kind.counts is None:
            kind.counts = torch.zeros(facts.classes, dtype=torch.int64)
            kind.on_host = kind.counts.numpy()
        labels = found.labels[: facts.classes]
        if kind.on_host is not None:
            kind.on_host[: len(labels)] += labels
        else:
            kind.counts[: len(labels)] += torch.from_numpy(labels).to(kind.counts.device)
    elif facts.function in BINARY:
        outputs = _outputs_of(kind, shape)
        if kind.positives is None or len(kind.positives) != 1 + outputs:
            kind.positives = torch.zeros(1 + outputs, dtype=torch.float64)
        table = found.targets.reshape(-1, outputs)
        seen = numpy.concatenate(([len(table)], table.sum(axis=0, dtype=numpy.float64)))
        kind.positives += torch.from_numpy(seen).to(kind.positives.device)
    elif facts.function in REGRESSION:
        kind.targets = observe_on_host(kind.targets, found.targets, shape)


def _outputs_of(kind: Kind, shape: Sequence[int]) -> int:
    """How many outputs of a binary loss have a frequency of their own: all of an example, where that stays so many."""
    if len(shape) < 2:
        return 1
    each = math.prod(shape[1:])
    if len(shape) > 2 and (each > _MOST_OUTPUTS or kind.ragged or not _same_width(kind, each)):
        kind.ragged, each = True, int(shape[-1])  # sequences of many lengths: the last dimension is the outputs
    return each if each <= _MOST_OUTPUTS else 1


def _same_width(kind: Kind, outputs: int) -> bool:
    return kind.positives is None or len(kind.positives) == 1 + outputs


def with_labels(kind: Kind) -> LossFacts:
    """The facts of a loss function with what was counted so far, which is on the host."""
    import msgspec

    facts = kind.facts
    if kind.weights is not None:
        facts = msgspec.structs.replace(facts, class_weights=kind.weights.tolist())
    if kind.counts is not None:
        counts = kind.counts.double()
        share = counts[counts > 0] / counts.sum().clamp(min=1)
        listed = [int(count) for count in counts] if facts.classes <= LISTED_CLASSES else []
        entropy = max(0.0, float(-(share * share.log()).sum()))
        facts = msgspec.structs.replace(facts, label_counts=listed, label_entropy=entropy)
    if kind.targets is not None:
        facts = msgspec.structs.replace(facts, **facts_of(kind.targets))
    if kind.positives is not None:
        count, *positive = (float(value) for value in kind.positives)
        entropies = [_binary_entropy(value / count) for value in positive if count]
        if entropies and all(math.isfinite(value) for value in entropies):
            facts = msgspec.structs.replace(
                facts, binary_entropy=sum(entropies) / len(entropies), target_mean=sum(positive) / count / len(positive)
            )
    return facts


def _binary_entropy(share: float) -> float:
    return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
