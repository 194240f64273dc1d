"""Losses that belong to an evaluation pass of a thread, or may."""

from typing import Any

import torch

from gradaudit.record.observe.evaluation.evaluated import MODES, mode_here
from gradaudit.record.observe.evaluation.parts import Part
from gradaudit.record.observe.loss.calls import LossCall
from gradaudit.record.observe.model_state import MODEL_STATE


def suppose(between: Any, result: torch.Tensor, seen: LossCall) -> bool:
    """Whether a loss with a gradient is taken for an evaluation's, until a backward tells what it is."""
    if between.mode([result]) != 0:
        return False
    between.shared.settle()  # a step that was made by hand ends here
    if between.undecided.add(seen):
        _begin_pass(between, result)
        between.evaluations.add(seen, 0, supposed=True)
    else:
        between.evaluations.refute()
    return True


def evaluate(between: Any, seen: LossCall, training: int | None = None, part: Part | None = None) -> None:
    """Add a loss without a backward to the evaluation pass of the thread."""
    shared, evaluations = between.shared, between.evaluations
    shared.settle()
    # A thread that never trains, beside one that does, has no backward to end its passes.
    if evaluations.open and not between.backwards and evaluations.interrupted(shared.after_step):
        between.finish_evaluation()
    _begin_pass(between)
    training = between.table.training() if training is None else training
    if training == 1:
        roots = between.table.living_roots()
        training = between.observers.call(MODES, mode_here, roots, between.modes, default=1)
    evaluations.add(seen, training, part)
    between.observers.call(MODEL_STATE, shared.model_state.on_evaluation, between.table, training, shared.after_step)


def _begin_pass(between: Any, loss: torch.Tensor | None = None) -> None:
    if not between.evaluations.begun:
        shared = between.shared
        between.evaluations.begin(shared.next_pass(loss), shared.after_step, shared.time)
