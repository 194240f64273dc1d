"""What the script's losses are: facts of each loss function, training losses, evaluation passes, label counts."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch

from gradaudit.record.on_host import OnHost, look
from gradaudit.record.splits import current_split, forget
from gradaudit.schema import LossFacts

CLASSIFICATION = ("cross_entropy", "nll_loss")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
REGRESSION = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
FUNCTIONS = (*CLASSIFICATION, *BINARY, *REGRESSION, "kl_div", "poisson_nll_loss", "gaussian_nll_loss")

_MOST_CLASSES = 2_000_000  # counted; beyond this the counts would weigh more than the loss itself
_LISTED_CLASSES = 1000
_TARGET_SAMPLE = 4096  # elements of a regression target looked at in one call
_MOST_OUTPUTS = 1024


@dataclass(eq=False, slots=True)
class Call:
    """One call of a loss function; numbers stay on the device, if it is not the CPU."""

    loss: int
    mean: torch.Tensor | float  # mean loss per valid target
    valid: torch.Tensor | int
    ignored: torch.Tensor | int
    batch_size: int
    node: Any = None  # the autograd node of its result


@dataclass
class _Kind:
    """One loss function with one set of options, and its running label facts."""

    facts: LossFacts
    counts: torch.Tensor | None = None  # [classes]
    on_host: Any = None  # the same as a numpy array, if they are on the CPU
    moments: torch.Tensor | None = None  # [3]: count, sum, sum of squares of regression targets
    positives: torch.Tensor | None = None  # [1 + outputs]: count, then the sum of each output's targets


@dataclass
class LossBook:
    """The loss functions seen so far."""

    kinds: dict[tuple[Any, ...], _Kind] = field(default_factory=dict)
    changed: bool = False

    def observe(self, name: str, result: torch.Tensor, call: dict[str, Any]) -> Call:
        """Turn one call of a loss function into numbers; `call` holds its arguments by name."""
        input, target = call["input"], call["target"]
        kind = self._kind(name, call)
        found = look(kind.facts, result, input, target, call.get("weight") is not None)
        batch = int(input.shape[0]) if input.ndim else 1
        if found is not None:
            if result.requires_grad:
                _count_on_host(kind, found, target.shape)
            return Call(kind.facts.id, found.mean, found.valid, found.ignored, batch, result.grad_fn)
        with torch.no_grad():
            valid, ignored = _targets(kind.facts, input, target)
            mean = _mean(kind.facts, result.detach(), valid, target, call.get("weight"))
            if result.requires_grad:
                _count_labels(kind, target.detach())
        return Call(kind.facts.id, mean, valid, ignored, batch, result.grad_fn)

    def logged(self) -> int:
        """The index of the loss given through Recorder.log."""
        return self._add(("logged",), lambda index: LossFacts(id=index, function="logged")).facts.id

    def _kind(self, name: str, call: dict[str, Any]) -> _Kind:
        input, target = call["input"], call["target"]
        reduction = call.get("reduction", "mean")
        if call.get("size_average") is not None or call.get("reduce") is not None:
            reduction = torch.nn._reduction.legacy_get_string(call.get("size_average"), call.get("reduce"), False)
        classes = 0
        if name in CLASSIFICATION:
            classes = int(input.shape[1] if input.ndim > 1 else input.shape[0])
        smoothing = float(call.get("label_smoothing") or 0.0)
        weight = call.get("weight") if call.get("pos_weight") is None else call["pos_weight"]
        soft = name in CLASSIFICATION and target.is_floating_point()
        ignore = call.get("ignore_index") if name in CLASSIFICATION and not soft else None
        key = (name, classes, reduction, smoothing, weight is not None, ignore, soft)
        if key in self.kinds:
            return self.kinds[key]

        def make(index: int) -> LossFacts:
            weights: list[float] = []
            if name in CLASSIFICATION and weight is not None and weight.numel() <= _LISTED_CLASSES:
                # Once per loss function, at its first call.
                weights = [float(value) for value in weight.detach().cpu()]
            return LossFacts(
                id=index, function=name, classes=classes, reduction=str(reduction), label_smoothing=smoothing,
                weighted=weight is not None, class_weights=weights, ignore_index=ignore, soft_targets=soft,
            )  # fmt: skip

        return self._add(key, make)

    def _add(self, key: tuple[Any, ...], make: Callable[[int], LossFacts]) -> _Kind:
        if key not in self.kinds:
            self.kinds[key] = _Kind(make(len(self.kinds)))
            self.changed = True
        return self.kinds[key]

    def facts(self) -> list[LossFacts]:
        """The facts with the label counts so far; reads the device."""
        return [_with_labels(kind) for kind in list(self.kinds.values())]


def arguments_of(function: Callable[..., Any]) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]:
    """A binder that names the positional arguments of `function`, several times faster than Signature.bind."""
    parameters = inspect.signature(function).parameters
    names = list(parameters)
    defaults = {name: item.default for name, item in parameters.items() if item.default is not item.empty}

    def bind(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}

    return bind


def _targets(facts: LossFacts, input: torch.Tensor, target: torch.Tensor) -> tuple[Any, Any]:
    """(valid, ignored) targets: class labels, or elements for losses without classes."""
    if not facts.classes:
        return input.numel(), 0
    if facts.soft_targets:
        return input.numel() // max(1, facts.classes), 0
    if facts.ignore_index is None:
        return target.numel(), 0
    valid = (target != facts.ignore_index).sum()
    return valid, target.numel() - valid


def _mean(facts: LossFacts, result: torch.Tensor, valid: Any, target: torch.Tensor, weight: Any) -> torch.Tensor:
    """The mean loss per valid target, whatever the reduction; of a weighted loss the weighted mean."""
    if facts.reduction == "mean":
        return result.clone()
    if facts.reduction == "batchmean":
        return result * target.shape[0] / max(1, target.numel())
    total = result.double().sum()
    if weight is not None and facts.classes and not facts.soft_targets:
        inside = target.clamp(0, facts.classes - 1)
        weighed = weight.detach()[inside].double()
        if facts.ignore_index is not None:
            weighed = weighed * (target != facts.ignore_index)
        valid = weighed.sum()
    mean: torch.Tensor = total / valid
    return mean


def _count_labels(kind: _Kind, target: torch.Tensor) -> None:
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
        outputs = int(target.shape[-1]) if target.ndim > 1 and target.shape[-1] <= _MOST_OUTPUTS else 1
        table = target.double().reshape(-1, outputs)
        seen = torch.cat([torch.full((1,), float(table.shape[0]), device=target.device), table.sum(dim=0)])
        if kind.positives is None or kind.positives.shape != seen.shape:
            kind.positives = torch.zeros_like(seen)
        kind.positives += seen
    elif facts.function in REGRESSION:
        flat = target.reshape(-1)
        sample = flat[:: max(1, flat.numel() // _TARGET_SAMPLE)].double()
        seen = torch.stack([torch.full_like(sample.sum(), float(sample.numel())), sample.sum(), sample.square().sum()])
        kind.moments = seen if kind.moments is None else kind.moments + seen


def _count_on_host(kind: _Kind, found: OnHost, shape: Sequence[int]) -> None:
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
        outputs = int(shape[-1]) if len(shape) > 1 and shape[-1] <= _MOST_OUTPUTS else 1
        if kind.positives is None or len(kind.positives) != 1 + outputs:
            kind.positives = torch.zeros(1 + outputs, dtype=torch.float64)
        table = found.targets.reshape(-1, outputs)
        seen = numpy.concatenate(([len(table)], table.sum(axis=0, dtype=numpy.float64)))
        kind.positives += torch.from_numpy(seen).to(kind.positives.device)
    elif facts.function in REGRESSION:
        sample = found.targets[:: max(1, len(found.targets) // _TARGET_SAMPLE)].astype(numpy.float64)
        if kind.moments is None:
            kind.moments = torch.zeros(3, dtype=torch.float64)
        kind.moments += torch.tensor((len(sample), sample.sum(), sample @ sample)).to(kind.moments.device)


def _with_labels(kind: _Kind) -> LossFacts:
    import msgspec

    facts = kind.facts
    if kind.counts is not None:
        counts = kind.counts.cpu().double()
        share = counts[counts > 0] / counts.sum().clamp(min=1)
        listed = [int(count) for count in counts] if facts.classes <= _LISTED_CLASSES else []
        entropy = max(0.0, float(-(share * share.log()).sum()))
        facts = msgspec.structs.replace(facts, label_counts=listed, label_entropy=entropy)
    if kind.moments is not None:
        count, total, squares = (float(value) for value in kind.moments.cpu())
        mean = total / count if count else math.nan
        variance = max(0.0, squares / count - mean * mean) if count else math.nan
        if math.isfinite(mean) and math.isfinite(variance):
            facts = msgspec.structs.replace(facts, target_mean=mean, target_variance=variance)
    if kind.positives is not None:
        count, *positive = (float(value) for value in kind.positives.cpu())
        entropies = [_binary_entropy(value / count) for value in positive if count]
        if entropies and all(math.isfinite(value) for value in entropies):
            facts = msgspec.structs.replace(
                facts, binary_entropy=sum(entropies) / len(entropies), target_mean=sum(positive) / count / len(positive)
            )
    return facts


def _binary_entropy(share: float) -> float:
    return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)


@dataclass
class _Split:
    total: Any = 0.0
    valid: Any = 0
    batches: int = 0
    training: int = -1
    loss: int = -1


class Evaluations:
    """Losses seen without a backward, gathered into passes between training steps."""

    def __init__(self) -> None:
        forget()
        self.number = 0
        self.open: dict[str, _Split] = {}

    def add(self, call: Call, training: int, split: str | None = None) -> None:
        """Add one evaluation loss; `split` names it, else the script's source does."""
        entry = self.open.setdefault(split or current_split(), _Split(training=training, loss=call.loss))
        if call.loss != entry.loss:
            return  # a second loss function of the same batch: the first one is the pass's
        mean = call.mean.double() if isinstance(call.mean, torch.Tensor) else call.mean
        entry.total = entry.total + mean * call.valid
        entry.valid = entry.valid + call.valid
        entry.batches += 1

    def close(self, after_step: int, time: float) -> list[dict[str, Any]]:
        """End the pass and return its rows; values may still be on the device."""
        rows = []
        for split, entry in self.open.items():
            known = not isinstance(entry.valid, int) or entry.valid
            rows.append(
                {
                    "pass": self.number,
                    "split": split,
                    "after_step": after_step,
                    "time": time,
                    "mean_loss": entry.total / entry.valid if known else math.nan,
                    "targets": entry.valid,
                    "batches": entry.batches,
                    "training": entry.training,
                    "loss": entry.loss,
                }
            )
        if rows:
            self.number += 1
            self.open = {}
        return rows
