"""Tensors that nothing changes for one reason, and the cause behind it as far as the record tells."""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy

from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.calls import called_under_autograd, use_of
from gradaudit.signals.layers.unchanged import Reason, all_owned, fed_with_zeros, one_of_many, reasons
from gradaudit.signals.layers.untrained import MOST, initial_share
from gradaudit.signals.order_statistics import Floats, Mask, largest, medians
from gradaudit.signals.updates.learning_rates import by_hand
from gradaudit.signals.updates.lost_updates import HALF
from gradaudit.signals.updates.step_size import below_precision
from gradaudit.training import Training, signal

# The reason "not owned" is "transfer learning" where what is left out is most of the model or its front, "untrained"
# where it has the initial values of torch.nn, and "left out" where neither holds. "unused" is "not called", "not
# used" or "dropped", as `Use` has them, and "ignored" where a large new part is dropped. "no gradient" and "zero
# gradient" are that of the whole optimizer ("nothing reached", "all zero"), of a block among its like ("unused
# block", "never chosen"), of a front ("cut off", "cut off by no_grad"), of the reverse direction of a recurrent layer
# that has made one step from a state of zeros, for only its output at the last position is used ("last output"), of a
# layer that is fed with zeros ("zero input"), and else keep their names. "no effect" is a gradient next to nothing
# ("faint"), weights too coarse for the updates ("half precision", "below precision"), or not known.
Cause = Literal[
    "frozen", "idle", "rate zero",
    "transfer learning", "untrained", "left out",
    "not called", "not used", "dropped", "ignored",
    "nothing reached", "cleared", "unused block", "cut off", "cut off by no_grad", "no gradient",
    "all zero", "never chosen", "last output", "zero input", "zero gradient",
    "faint", "half precision", "below precision", "no effect",
]  # fmt: skip

_REVERSE = re.compile(r"weight_hh_l\d+_reverse$")  # of nn.RNN, nn.GRU and nn.LSTM: by the hidden state


class UnchangedGroup(msgspec.Struct, frozen=True):
    """Tensors that nothing changes for one cause."""

    tensors: tuple[TensorFacts, ...]
    reason: Reason
    cause: Cause
    among: int  # tensors of the optimizer's record that have elements, these included
    elements: int
    share: float  # of the elements of all these tensors
    beside_largest: float  # the greatest typical gradient per element, over the largest tensor's; NaN without any


def unchanged_group(
    training: Training,
    mine: Sequence[TensorFacts],
    reason: Reason,
    *,
    is_faint: bool,
    backbone: float,
    ignored: float = 1,
) -> UnchangedGroup:  # fmt: skip
    """The group of the tensors `mine`.

    To leave more than `backbone` of a model out is transfer learning, and `ignored` of its elements no spare part.
    """
    own = {tensor.id for tensor in mine}
    chosen = [tensor.id in own for tensor in training.tensors]
    every = [tensor.elements for tensor in training.tensors if tensor.elements]
    elements = sum(tensor.elements for tensor in mine)
    share = elements / sum(every)
    cause = cause_of(training, list(mine), reason, is_faint=is_faint, backbone=backbone)
    # What was loaded may be a teacher, and what is called under no_grad is no part that is to learn.
    if cause == "dropped" and share >= ignored and initial_share(training, own) > MOST:
        cause = "ignored" if all(called_under_autograd(training.run, tensor) for tensor in mine) else cause
    return UnchangedGroup(
        tensors=tuple(mine),
        reason=reason,
        cause=cause,
        among=len(every),
        elements=elements,
        share=share,
        beside_largest=largest(beside_largest(training)[chosen]),
    )


def unchanged_by_reason(
    training: Training, still: Mask, fainter: Mask
) -> list[tuple[Reason, bool, tuple[TensorFacts, ...]]]:
    """The tensors `still` [tensors], by reason and what is known beyond it: reason, whether faint, and tensors.

    Of those whose updates have no effect, the `fainter` ones [tensors] are a group of their own.
    """
    tensors, why, dry = training.tensors, reasons(training), fed_with_zeros(training)
    resting = numpy.flatnonzero(still).tolist()
    # Behind a dead layer inputs are zero, too, and the dead layer has no gradient itself.
    fed = all(dry[i] for i in resting if why[i] == "zero gradient")
    found: dict[tuple[Reason, bool, str], list[TensorFacts]] = {}
    for i in resting:
        weak = why[i] == "no effect" and bool(fainter[i])
        detail = ""
        if why[i] in ("unused", "no gradient"):
            detail = use_of(training.run, tensors[i])
        elif why[i] == "zero gradient":
            detail = "input" if fed else ""
        found.setdefault((why[i], weak, detail), []).append(tensors[i])
    return [(reason, weak, tuple(group)) for (reason, weak, _), group in found.items()]


@signal
def beside_largest(training: Training) -> Floats:
    """[tensors]: the typical gradient per element over that of the tensor where it is largest; NaN where all are 0."""
    size = numpy.sqrt([max(1, tensor.elements) for tensor in training.tensors])
    typical = medians(training.matrix("gradient_norm")) / size
    most = largest(typical)
    return typical / most if most > 0 else numpy.full(len(typical), numpy.nan)


def cause_of(training: Training, mine: list[TensorFacts], reason: Reason, *, is_faint: bool, backbone: float) -> Cause:
    """What is behind the reason of the tensors `mine`; of "no gradient" and "unused" all have the same use."""
    match reason:
        case "copy" | "fixed" | "frozen":
            return "frozen"
        case "idle" | "rate zero":
            return reason
        case "not owned":
            return _outside(training, mine, backbone)
        case "unused":
            use = use_of(training.run, mine[0])
            return use if use in ("not called", "not used") else "dropped"
        case "no gradient":
            return _without_gradient(training, mine)
        case "zero gradient":
            return _zero(training, mine)
        case "no effect":
            return "faint" if is_faint else _no_effect(training, mine)


def _outside(training: Training, mine: list[TensorFacts], backbone: float) -> Cause:
    every = training.run.meta.tensors
    own = {tensor.id for tensor in mine}
    if initial_share(training, own) > MOST:
        return "untrained"
    outside = sum(t.elements for t in mine) / max(1, sum(t.elements for t in every))
    # Whether all other owned weights of the run come later in the order of registration.
    later = [t.depth for t in every if t.optimizer >= 0 and t.id not in own and t.requires_grad]
    in_front = bool(later) and max(tensor.depth for tensor in mine) < min(later)
    return "transfer learning" if in_front or outside > backbone else "left out"


def cleared_before_step(training: Training) -> bool:
    """Whether the backwards that were looked at reach all of the optimizer, and no step finds a gradient."""
    graph = training.run.meta.graph
    terms = [one for one in graph.terms if one.used and not one.opaque and not one.compiled]
    reached = {number for one in terms if training.id in one.optimizers for number in one.tensors}
    own = [tensor.id for tensor in training.tensors if tensor.optimizer == training.id and tensor.requires_grad]
    given = bool((training.matrix("has_grad") > 0).any())
    return bool(own) and reached.issuperset(own) and not given and not by_hand(training)


def _without_gradient(training: Training, mine: list[TensorFacts]) -> Cause:
    if cleared_before_step(training):
        return "cleared"
    if all_owned(training, mine):
        return "nothing reached"
    if one_of_many(training, mine):
        return "unused block"
    use = use_of(training.run, mine[0])
    return use if use in ("cut off", "cut off by no_grad") else "no gradient"


def _zero(training: Training, mine: list[TensorFacts]) -> Cause:
    if all_owned(training, mine):
        return "all zero"
    if all(_REVERSE.search(tensor.name) for tensor in mine):
        return "last output"
    if _each(training, mine, fed_with_zeros(training)):
        return "zero input"
    return "never chosen" if one_of_many(training, mine) else "zero gradient"


def _no_effect(training: Training, mine: list[TensorFacts]) -> Cause:
    if mine[0].dtype in HALF:
        return "half precision"
    return "below precision" if _each(training, mine, below_precision(training)) else "no effect"


def _each(training: Training, mine: list[TensorFacts], which: Mask) -> bool:
    own = {tensor.id for tensor in mine}
    return bool(which[[tensor.id in own for tensor in training.tensors]].all())
