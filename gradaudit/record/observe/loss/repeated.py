"""A loss function that is called again as it was before: of most such calls only the value is read.

What a loss is, its options and its targets are looked at whenever statistics are due, and at one in some thirty of
the other calls. Between two of these a training calls the same function with the same options on batches of the same
kind, and each look would tell the same for ten times the price of the value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gradaudit.record.internals import tracing
from gradaudit.record.observe.loss.labels import CLASSIFICATION, Kind

if TYPE_CHECKING:
    from gradaudit.record.observe.loss.calls import LossCall

# Calls that are only read between two looks; coprime, so that no period of the training hides from the looks.
_APART = (23, 29, 31, 37)
_LISTED = 1000  # elements of a tensor among the options that may be held
_COUNTED = 64  # calls on a device without an ignored target, after which none is expected
_MISSING = object()


@dataclass(eq=False)
class Repeated:
    """How a loss function was called when it was last looked at."""

    kind: Kind
    options: tuple[Any, ...]
    named: dict[str, Any]
    dimensions: int
    classes: int  # 0: the targets have the shape of the predictions
    of_each: int  # elements of a prediction for one target
    dtype: torch.dtype
    left: int  # calls until the next look
    turn: int = 0

    def read(self, result: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, int, int] | None:
        """(mean loss, targets, batch size) of a call in training like that one; None where it has to be looked at."""
        if self.left <= 0 or type(result) is not torch.Tensor or not result.requires_grad or len(args) < 2:
            return None
        input, target = args[0], args[1]
        if type(input) is not torch.Tensor or type(target) is not torch.Tensor or result.numel() != 1:
            return None
        if result.is_meta or tracing() or not self.fits(input, target, args[2:], named):
            return None
        self.left -= 1
        # Of a device a copy, since the script may change it in place.
        value: Any = result.item() if result.is_cpu else result.detach().clone()
        facts = self.kind.facts
        targets = target.numel() if self.classes and not facts.soft_targets else input.numel() // self.of_each
        if facts.reduction == "sum":
            value = value / targets if targets else float("nan")
        return value, targets, int(input.shape[0])

    def fits(self, input: torch.Tensor, target: torch.Tensor, options: Sequence[Any], named: dict[str, Any]) -> bool:
        """Whether a call is like that one: the same options, and tensors that differ in their sizes at most."""
        if len(options) != len(self.options) or len(named) != len(self.named) or target.dtype is not self.dtype:
            return False
        shape = input.shape
        if len(shape) != self.dimensions:
            return False
        alike = (shape[1] if len(shape) > 1 else shape[0]) == self.classes if self.classes else shape == target.shape
        if not alike:
            return False
        # Each by identity: two tensors are not compared by their values.
        for name, value in named.items():
            if self.named.get(name, _MISSING) is not value:
                return False
        return not options or all(one is other for one, other in zip(options, self.options, strict=True))


def note(
    known: dict[str, Repeated], name: str, kind: Kind, call: "LossCall", args: tuple[Any, ...], named: dict[str, Any]
) -> None:
    """Remember a call in training that was looked at; forget the one before where it is none that may be repeated."""
    before = known.pop(name, None)
    if len(args) < 2 or kind.shared or kind.swapped or not _plain(args[0]) or not _plain(args[1]):
        return
    input, target = args[0], args[1]
    facts = kind.facts
    ignoring = _ignoring(kind, call)
    held = all(_may_be_held(value) for value in (*args[2:], *named.values()))
    alike = name in CLASSIFICATION or input.shape == target.shape
    simple = facts.reduction == "mean" or (facts.reduction == "sum" and not facts.weighted)
    if not (held and alike and simple and input.ndim) or ignoring or target.requires_grad:
        return
    turn = before.turn + 1 if before is not None else 0
    classes = facts.classes if name in CLASSIFICATION else 0
    left = _APART[turn % len(_APART)]
    of_each = max(1, facts.classes) if facts.soft_targets else 1
    known[name] = Repeated(kind, args[2:], named, input.ndim, classes, of_each, target.dtype, left, turn)


def _ignoring(kind: Kind, call: "LossCall") -> bool:
    """Whether targets may be ignored: of a device the counts are known only later, when the writer has them."""
    if kind.facts.ignore_index is None:
        return False
    if isinstance(call.ignored, torch.Tensor):
        return kind.ignored.any or kind.ignored.none < _COUNTED
    kind.ignored.note(int(call.ignored))
    return kind.ignored.any


def _plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _may_be_held(value: Any) -> bool:
    """Whether an option may be kept until the next look: numbers, texts, and the weights of a few classes."""
    if isinstance(value, torch.Tensor):
        return not value.requires_grad and value.numel() <= _LISTED
    return value is None or isinstance(value, bool | int | float | str)
