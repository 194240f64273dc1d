"""The backward of nearly every step, at which there is next to nothing to look at."""

from collections.abc import Sequence
from typing import Any

import torch

from gradaudit.record.measure.host_loss import value_of
from gradaudit.record.observe.batches import BATCHES
from gradaudit.record.observe.optimizers import several_known
from gradaudit.record.observers import EVALUATION_LOSSES, OBJECTIVES


def is_plain(between: Any, roots: Sequence[Any], gradients: Any) -> bool:
    """Whether a backward needs no look: one known loss, differentiated once a step by the only thread that trains.

    Nothing is due then, nothing is trained by hand, and no evaluation, scaler or second optimizer is about.
    """
    shared, seen, pending = between.shared, between.seen, between.pending
    return (
        not shared.due
        and gradients is None
        and len(roots) == 1
        and len(pending) == 1
        and not between.by_hand
        and not seen.backwards
        and not (seen.calls or seen.roots or seen.marks or seen.given)
        and between.scale is None
        and between.backwards > 0
        and shared.after_step >= 0
        and len(shared.training) == 1
        and not between.evaluating
        and not shared.model_state.active.pending
        and not several_known()
        and not shared.graph.due_at(shared.after_step + 1, pending[0].batch_size)
    )


def plain_backward(between: Any, root: torch.Tensor) -> None:
    """What is left to do of `StepObserver.on_backward`."""
    call = between.observers.call
    between.backwards += 1
    between.running = True
    between.leaves, between.gradients.wanted = None, False
    if between.gradients.before:
        between.gradients.before = {}
    between.undecided.expects = call(EVALUATION_LOSSES, between.table.training) != 0
    value = value_of(root) if type(root) is torch.Tensor else None
    if value is not None:
        between.seen.backwards = 1
        between.seen.roots.append((value, None))
    else:
        call(OBJECTIVES, between.add_roots, (root,), None)
    call(BATCHES, between.shared.batches.on_backward)
    between.seen.calls, between.pending = between.pending, []
