"""Whether a tensor stood still over the whole run, and why as far as the record knows."""

import re
from typing import Literal

import numpy

from gradaudit.schema import TensorFacts
from gradaudit.signals.embeddings.embedding_rows import RowHistory
from gradaudit.signals.layers.calls import use_of
from gradaudit.signals.layers.copies import copies
from gradaudit.signals.order_statistics import Mask
from gradaudit.signals.updates.learning_rates import recorded_learning_rates
from gradaudit.training import Training, signal

# "copy": of trained tensors, which the script brings up to date. "fixed": frozen, and no optimizer was ever given it.
# "unused": the optimizer has it, and no loss needs it. "idle": in no optimizer, and without a gradient.
Reason = Literal[
    "copy", "fixed", "frozen", "not owned", "idle", "rate zero", "unused", "no gradient", "zero gradient", "no effect"
]
MEANT: tuple[Reason, ...] = ("copy", "fixed")  # what nobody needs to be told of
LEAST_STEPS = 5  # before that, nothing can be said about a tensor that has not moved


def column_of(training: Training, tensor: TensorFacts) -> int:
    """The column of `tensor` in the matrices of this optimizer."""
    return [facts.id for facts in training.tensors].index(tensor.id)


def is_unchanged(training: Training, table: TensorFacts, history: RowHistory | None) -> bool:
    """Whether nothing moved the tensor; exact where its checksums were recorded."""
    column = column_of(training, table)
    updates = training.matrix("update_norm")[:, column]
    drifts = training.matrix("drift_norm")[:, column]
    moving = bool((updates > 0).any() or (drifts > 0).any())
    # NaN is no proof of rest: without a gradient the update is unknown unless the checksum tells.
    if history is None or history.last_step - history.first_step + 1 < LEAST_STEPS:
        return not moving and bool((updates == 0).all())
    return history.same_checksum and history.moved == 0 and not moving


@signal
def unchanged(training: Training) -> Mask:
    """[tensors]: no recorded step changed the sampled weights, nor did anything between the steps."""
    updates, drifts = training.matrix("update_norm"), training.matrix("drift_norm")
    if not len(updates):
        return numpy.zeros(updates.shape[1], dtype=bool)
    return numpy.asarray((updates == 0).all(axis=0) & ~(drifts > 0).any(axis=0))


@signal
def reasons(training: Training) -> list[Reason]:
    """[tensors]: why a tensor would not move: the first of the reasons that holds; "no effect" when none does."""
    rates = recorded_learning_rates(training)
    zero_rate: Mask = numpy.asarray(numpy.isfinite(rates).any(axis=0) & ~(rates > 0).any(axis=0))
    present: Mask = numpy.asarray((training.matrix("has_grad") > 0).any(axis=0))
    has_nonzero_grad: Mask = numpy.asarray((training.matrix("gradient_norm") > 0).any(axis=0))

    def reason(index: int, tensor: TensorFacts) -> Reason:
        if tensor.id in copies(training.run):
            return "copy"
        if not tensor.requires_grad:
            return "fixed" if tensor.optimizer < 0 else "frozen"
        if tensor.optimizer < 0:
            return "not owned" if present[index] else "idle"
        if zero_rate[index]:
            return "rate zero"
        if not present[index]:
            unused = ["not called", "not used"]
            if tensor.role != "embedding":
                unused.append("dropped")  # nobody looks tokens up for nothing
            return "unused" if use_of(training.run, tensor) in unused else "no gradient"
        return "no effect" if has_nonzero_grad[index] else "zero gradient"

    return [reason(index, tensor) for index, tensor in enumerate(training.tensors)]


def reason_unchanged(training: Training, tensor: TensorFacts) -> Reason:
    """Why a tensor is unchanged: the first of the reasons that holds."""
    return reasons(training)[column_of(training, tensor)]


@signal
def fed_with_zeros(training: Training) -> Mask:
    """[tensors]: weights without any gradient beside a bias of the same module that has one: their inputs are zero."""
    tensors = training.tensors
    has_nonzero_grad: Mask = numpy.asarray((training.matrix("gradient_norm") > 0).any(axis=0))
    biased = {tensors[i].module for i in numpy.flatnonzero(has_nonzero_grad) if tensors[i].role == "bias"}
    beside = [t.role == "weight" and bool(t.module_class) and t.module in biased for t in tensors]
    return numpy.asarray(beside, dtype=numpy.bool_) & ~has_nonzero_grad


def probed_whole(tensor: TensorFacts) -> bool:
    """Whether the norms of the tensor are those of all its elements, so that an update of 0 is one of none of them."""
    return tensor.probed == tensor.elements


def all_owned(training: Training, mine: list[TensorFacts]) -> bool:
    """Whether these are all the tensors that the optimizer has."""
    own = {tensor.id for tensor in mine}
    return all(tensor.id in own for tensor in training.tensors if tensor.optimizer == training.id)


def one_of_many(training: Training, mine: list[TensorFacts]) -> bool:
    """Whether each has a namesake with another index that moved, as experts and blocks of a list have."""

    def pattern(name: str) -> str:
        return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)

    still = unchanged(training)
    trained = {
        (pattern(t.name), tuple(t.shape))
        for t, rests in zip(training.tensors, still, strict=True)
        if not rests and pattern(t.name).count("*") and pattern(t.name) != "*.weight" and pattern(t.name) != "*.bias"
    }
    before = [t.depth for t, rests in zip(training.tensors, still, strict=True) if not rests]
    return all((pattern(t.name), tuple(t.shape)) in trained and min(before) < t.depth for t in mine)
