"""Whether a tensor stood still over the whole run, and why as far as the record knows."""

from typing import Literal

import numpy

from gradaudit.derived.embedding_rows import RowHistory
from gradaudit.derived.learning_rates import recorded_learning_rates
from gradaudit.derived.order_statistics import Mask
from gradaudit.derived.per_run import per_run
from gradaudit.run import Run
from gradaudit.schema import TensorFacts

Reason = Literal["frozen", "not owned", "rate zero", "no gradient", "zero gradient", "no effect"]
LEAST_STEPS = 5  # before that, nothing can be said about a tensor that has not moved


def column_of(run: Run, optimizer: int, tensor: TensorFacts) -> int:
    """The column of `tensor` in the matrices of this optimizer."""
    return [facts.id for facts in run.tensors_of(optimizer)].index(tensor.id)


def never_moved(run: Run, optimizer: int, table: TensorFacts, history: RowHistory | None) -> bool:
    """Whether nothing moved the tensor; exact where its checksums were recorded."""
    column = column_of(run, optimizer, table)
    updates = run.matrix("update_norm", optimizer)[:, column]
    drifts = run.matrix("drift_norm", optimizer)[:, column]
    moving = bool((updates > 0).any() or (drifts > 0).any())
    # NaN is no proof of rest: without a gradient the update is unknown unless the checksum tells.
    if history is None or history.last_step - history.first_step + 1 < LEAST_STEPS:
        return not moving and bool((updates == 0).all())
    return history.same_checksum and history.moved == 0 and not moving


@per_run
def at_rest(run: Run, optimizer: int) -> Mask:
    """[tensors]: no recorded step changed the sampled weights, nor did anything between the steps."""
    updates, drifts = run.matrix("update_norm", optimizer), run.matrix("drift_norm", optimizer)
    if not len(updates):
        return numpy.zeros(updates.shape[1], dtype=bool)
    return numpy.asarray((updates == 0).all(axis=0) & ~(drifts > 0).any(axis=0))


@per_run
def reasons(run: Run, optimizer: int) -> list[Reason]:
    """[tensors]: why a tensor would not move: the first of the reasons that holds; "no effect" when none does."""
    rates = recorded_learning_rates(run, optimizer)
    zero_rate: Mask = numpy.asarray(numpy.isfinite(rates).any(axis=0) & ~(rates > 0).any(axis=0))
    present: Mask = numpy.asarray((run.matrix("has_grad", optimizer) > 0).any(axis=0))
    felt: Mask = numpy.asarray((run.matrix("gradient_norm", optimizer) > 0).any(axis=0))

    def reason(index: int, tensor: TensorFacts) -> Reason:
        if not tensor.requires_grad:
            return "frozen"
        if tensor.optimizer < 0:
            return "not owned"
        if zero_rate[index]:
            return "rate zero"
        if not present[index]:
            return "no gradient"
        return "no effect" if felt[index] else "zero gradient"

    return [reason(index, tensor) for index, tensor in enumerate(run.tensors_of(optimizer))]


def reason_for_rest(run: Run, optimizer: int, tensor: TensorFacts) -> Reason:
    """Why a tensor that never moved did not: the first of the reasons that holds."""
    return reasons(run, optimizer)[column_of(run, optimizer, tensor)]
