"""Whether a tensor stood still over the whole run, and why as far as the record knows."""

from typing import Literal

import numpy

from gradaudit.derived.embedding_rows import RowHistory
from gradaudit.derived.learning_rates import recorded_learning_rates
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


def reason_for_rest(run: Run, optimizer: int, tensor: TensorFacts) -> Reason:
    """Why a tensor that never moved did not: the first of the reasons that holds."""
    column = column_of(run, optimizer, tensor)
    if not tensor.requires_grad:
        return "frozen"
    if tensor.optimizer < 0:
        return "not owned"
    rates = recorded_learning_rates(run, optimizer)[:, column]
    if numpy.isfinite(rates).any() and not (rates > 0).any():
        return "rate zero"
    if not (run.matrix("has_grad", optimizer)[:, column] > 0).any():
        return "no gradient"
    return "no effect" if (run.matrix("gradient_norm", optimizer)[:, column] > 0).any() else "zero gradient"
