"""Which layers belong together: those that one term of the objective reaches; and those that start small on purpose."""

import math

import numpy

from gradaudit.signals.layers.initialisation import first_rms
from gradaudit.signals.layers.layers import comparable_layers
from gradaudit.signals.order_statistics import Mask
from gradaudit.training import Training, signal

_SMALL = 0.1  # of torch.nn's default: heads of policies are initialised with a gain of 0.01


@signal
def term_groups(training: Training) -> tuple[Mask, ...]:
    """Masks [tensors] of what each term of the objective reaches, each once; one of all where only one is known.

    What no recorded term reaches may belong to any.
    """
    tensors = training.tensors
    numbers = sorted({number for tensor in tensors for number in tensor.terms})
    masks: dict[bytes, Mask] = {}
    for number in numbers:
        mask = numpy.asarray([not tensor.terms or number in tensor.terms for tensor in tensors], dtype=bool)
        masks.setdefault(mask.tobytes(), mask)
    return tuple(masks.values()) or (numpy.ones(len(tensors), dtype=bool),)


@signal
def small_heads(training: Training) -> Mask:
    """[tensors]: the last layer of each group, where it starts at a tenth of torch.nn's default or less.

    What stands behind it has as much less gradient until it has grown, by design.
    """
    tensors, chosen = training.tensors, comparable_layers(training)
    found = numpy.zeros(len(tensors), dtype=bool)
    for group in term_groups(training):
        mine = numpy.flatnonzero(chosen & group)
        last = tensors[int(mine[-1])] if len(mine) else None
        if last is not None and any(word in last.module_class for word in ("Linear", "Conv")):
            default = 1 / math.sqrt(3 * max(1, math.prod(last.shape[1:])))
            found[mine[-1]] = first_rms(training.run, last) <= _SMALL * default
    return found
