"""What the script's losses are: facts of each loss function, training losses, evaluation passes, label counts."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from gradaudit.record.measure.host_loss import look
from gradaudit.record.measure.samples import Sample, of_loss
from gradaudit.record.measure.transfer import to_host
from gradaudit.record.observe.loss.calls import LossCall, node_key
from gradaudit.record.observe.loss.hand_written import FUNCTION, Likelihood
from gradaudit.record.observe.loss.labels import (
    BINARY,
    CLASSIFICATION,
    LISTED_CLASSES,
    REGRESSION,
    Kind,
    count_labels,
    count_on_host,
    with_labels,
)
from gradaudit.record.observe.loss.last_operation import last_operation
from gradaudit.record.observe.loss.repeated import Repeated, note
from gradaudit.record.observe.loss.targets import sides
from gradaudit.record.observers import ACTIVATIONS_BEFORE_LOSSES, LABEL_COUNTS, Observers
from gradaudit.schema import LossFacts

if TYPE_CHECKING:
    from gradaudit.record.observe.loss.compiled import Reading

STRETCHING = (*REGRESSION, "poisson_nll_loss", "gaussian_nll_loss")  # accept shapes that broadcast
FUNCTIONS = (*CLASSIFICATION, *BINARY, *STRETCHING, "kl_div")

_EVALUATION = "evaluation_broadcast"  # the field of a loss without a gradient
_ACTIVATIONS = 8  # calls that are all asked for the activation before the loss, and of the later ones one in so many
_LOOKS = 8  # backward passes of unknown losses that are looked at; a script that writes its own begins with it
_MOST_KINDS = 200  # of functions with their options; a smoothing that changes at every step would be thousands


@dataclass
class LossRegistry:
    """The loss functions seen so far."""

    kinds: dict[tuple[Any, ...], Kind] = field(default_factory=dict)
    changed: bool = False
    observed: int = 0  # calls of loss functions so far
    data: bool = True  # whether what the targets are is kept
    looks: int = _LOOKS  # further ones for a loss that the script writes out itself
    repeated: dict[str, Repeated] = field(default_factory=dict)  # by function: how it was called last
    latest: str = ""  # the function of the last call in training

    def observe(
        self,
        name: str,
        result: torch.Tensor,
        call: dict[str, Any],
        observers: Observers,
        reading: "Reading | None" = None,
    ) -> LossCall:
        """Turn one call of a loss function into numbers; `call` holds its arguments by name.

        `reading` says what is known of a loss inside a compiled graph.
        """
        self.observed += 1
        kind = self._kind(name, call)
        input, target, kind.swapped = (
            (call["input"], call["target"], False) if name in CLASSIFICATION else sides(call, kind.swapped)
        )
        if kind.calls >= 0 and result.requires_grad and not kind.shared:
            number, kind.calls = kind.calls, kind.calls + 1
            if number < _ACTIVATIONS or number % _ACTIVATIONS == 0:
                observers.call(ACTIVATIONS_BEFORE_LOSSES, self._note_activation, kind, input, reading, number == 0)
        if target.requires_grad and result.requires_grad and kind.facts.target_trained is False:
            kind.facts = msgspec.structs.replace(kind.facts, target_trained=True)
            self.changed = True
        if name in STRETCHING and input.shape != target.shape:
            self._note_broadcast(kind, input.shape, target.shape, "broadcast" if result.requires_grad else _EVALUATION)
        value = result if reading is None or reading.value is None else reading.value
        counted = reading is None or (reading.input_known if kind.swapped else reading.target_known)
        found = look(kind.facts, value, input, target, call.get("weight") is not None) if counted else None
        batch = int(input.shape[0]) if input.ndim else 1
        if found is not None:
            if result.requires_grad and not kind.shared:
                observers.call(LABEL_COUNTS, count_on_host, kind, found, target.shape)
            return LossCall(kind.facts.id, found.mean, found.valid, found.ignored, batch, node_key(result.grad_fn))
        with torch.no_grad():
            known = kind.facts if counted else msgspec.structs.replace(kind.facts, ignore_index=None)
            valid, ignored = _targets(known, input, target)
            mean = _mean(kind.facts, value.detach(), valid, target, call.get("weight"))
            if result.requires_grad and not kind.shared and counted:
                observers.call(LABEL_COUNTS, count_labels, kind, target.detach())
        told = kind.ignored if isinstance(ignored, torch.Tensor) else None
        return LossCall(kind.facts.id, mean, valid, ignored, batch, node_key(result.grad_fn), told=told)

    def again(self, name: str, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> LossCall | None:
        """A call in training like the last one, of which only the value is read; None of one that has to be looked at.

        Of a loss that has ignored targets each call is looked at: its mean is one over the others.
        """
        like = self.repeated.get(name)
        found = like.read(result, args, kwargs) if like is not None else None
        if like is None or found is None:
            return None
        self.latest, kind, (mean, targets, batch) = name, like.kind, found
        self.observed += 1
        if kind.calls >= 0:
            kind.calls += 1
        return LossCall(kind.facts.id, mean, targets, 0, batch, node_key(result.grad_fn))

    def note(self, name: str, seen: LossCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remember how a call was made that was looked at, in training."""
        kind = next((kind for kind in self.kinds.values() if kind.facts.id == seen.loss), None)
        if kind is not None:
            self.latest = name
            note(self.repeated, name, kind, seen, args, kwargs)

    def sample(self, loss: int, call: dict[str, Any]) -> Sample | None:
        """A sample of the prediction in a call of the loss function with this index, or of what should be logits."""
        kind = next((kind for kind in self.kinds.values() if kind.facts.id == loss), None)
        swapped = kind is not None and kind.swapped and kind.facts.function not in BINARY
        return of_loss(call["target" if swapped else "input"], kind.facts.classes if kind is not None else 0)

    def logged(self) -> int:
        """The index of the loss given through Recorder.log."""
        return self._add(("logged",), lambda index: LossFacts(id=index, function="logged")).facts.id

    def hand_written(self, found: Likelihood | None, value: torch.Tensor | float) -> LossCall | None:
        """The call behind a backward root of this value that was looked at; None where it is no cross entropy."""
        if found is None:
            # Once one was found each backward is looked at, so that none of its steps is without a loss.
            self.looks -= not any(kind.facts.function == FUNCTION for kind in self.kinds.values())
            return None
        key = (FUNCTION, found.classes, found.reduction)
        if key not in self.kinds and len(self.kinds) >= _MOST_KINDS:
            return None
        kind = self._add(
            key,
            lambda index: LossFacts(id=index, function=FUNCTION, classes=found.classes, reduction=found.reduction),
        )
        mean = value / found.targets if found.reduction == "sum" else value
        return LossCall(kind.facts.id, mean, found.targets, 0, found.batch_size)

    def _kind(self, name: str, call: dict[str, Any]) -> Kind:
        input, target = call["input"], call["target"]
        reduction = call.get("reduction", "mean")
        if call.get("size_average") is not None or call.get("reduce") is not None:
            reduction = _older_name(call.get("size_average"), call.get("reduce"))
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
            watched: list[list[int]] | None = [] if name in STRETCHING else None
            return LossFacts(
                id=index, function=name, classes=classes, reduction=str(reduction), label_smoothing=smoothing,
                weighted=weight is not None, ignore_index=ignore, soft_targets=soft,
                broadcast=watched, evaluation_broadcast=watched,
                target_trained=None if name in CLASSIFICATION else False,
            )  # fmt: skip

        if key not in self.kinds and len(self.kinds) >= _MOST_KINDS:
            # Computed with its own options, and kept as one of many of this function.
            one_of_many = self._add((name,), lambda index: LossFacts(id=index, function=name))
            return Kind(make(one_of_many.facts.id), shared=True)
        kind = self._add(key, make)
        if kind.weights is None and name in CLASSIFICATION and weight is not None and weight.numel() <= LISTED_CLASSES:
            kind.weights = weight.detach().clone()
        return kind

    def _note_broadcast(self, kind: Kind, prediction: torch.Size, target: torch.Size, field: str) -> None:
        """Keep the first shapes of a loss that compares every prediction with every target."""
        if not kind.shared and not getattr(kind.facts, field) and stretched(prediction, target):
            kind.facts = msgspec.structs.replace(kind.facts, **{field: [list(prediction), list(target)]})
            self.changed = True

    def _note_activation(self, kind: Kind, prediction: torch.Tensor, reading: "Reading | None", first: bool) -> None:
        """Keep the activation that the predictions come from, while it is one and the same."""
        name, over = (
            last_operation(prediction) if reading is None else (None, 0) if kind.swapped else reading.activation
        )
        if not first and (name, over) != (kind.facts.activation, kind.facts.softmax_over):
            name, over, kind.calls = "", 0, -1
        if (name, over) != (kind.facts.activation, kind.facts.softmax_over):
            kind.facts = msgspec.structs.replace(kind.facts, activation=name, softmax_over=over)
            self.changed = True

    def _add(self, key: tuple[Any, ...], make: Callable[[int], LossFacts]) -> Kind:
        if key not in self.kinds:
            self.kinds[key] = Kind(make(len(self.kinds)))
            self.changed = True
        return self.kinds[key]

    def facts(self) -> list[LossFacts]:
        """The facts with the label counts so far; waits for the device."""
        kinds = to_host(list(self.kinds.values()))
        if not self.data:
            kinds = [dataclasses.replace(kind, counts=None, targets=None, positives=None) for kind in kinds]
        return [with_labels(kind) for kind in kinds]

    def plain_facts(self) -> list[LossFacts]:
        """The facts without what was counted."""
        return [kind.facts for kind in list(self.kinds.values())]


def stretched(prediction: torch.Size, target: torch.Size) -> bool:
    """Whether the same numbers in another number of dimensions, as (N, 1) and (N), broadcast to more than they are.

    Shapes of as many dimensions are taken as meant: (N, 1) and (1, M) is how one writes all pairs.
    """
    alike = [size for size in prediction if size != 1] == [size for size in target if size != 1]
    if len(prediction) == len(target) or not alike:
        return False
    length = max(len(prediction), len(target))
    padded = ((1,) * (length - len(shape)) + tuple(shape) for shape in (prediction, target))
    return bool(math.prod(max(pair) for pair in zip(*padded, strict=True)) > math.prod(prediction))


def has_value(tensor: torch.Tensor) -> bool:
    """Whether a loss can be read: not on the meta device, and no tensor that only stands for one.

    A fake tensor has no value, and that of a distributed one would take all ranks to find out.
    """
    if type(tensor) is torch.Tensor:
        return not tensor.is_meta
    return not tensor.is_meta and not hasattr(tensor, "to_local") and not hasattr(tensor, "fake_mode")


def _older_name(size_average: bool | None, reduce: bool | None) -> str:
    """The reduction that the two flags of older scripts ask for."""
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


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
