"""Whether parameters start as an initialiser sets them: then nothing was trained or loaded before."""

import math
from collections.abc import Collection

import numpy

from gradaudit.signals.order_statistics import Floats, Mask
from gradaudit.training import Training, signal

# nn.Linear, nn.Conv and xavier_uniform_ draw uniformly: the largest element is sqrt(3) root mean squares. Training
# gives weights tails: the largest of 6,000 is at 3.0 root mean squares after 30 steps of SGD, at 3.7 after 100.
_LEAST, _NEAR = 256, 0.1  # elements; the root mean square of 256 uniform numbers is off by 2.8 % (standard error)
# GPT-2's and BERT's normal distribution; trained GPT-2 weights are seven times as large.
_STD, _MANY, _WITHIN = 0.02, 1024, 0.05
_TAIL = (2.8, 6.0)  # the largest of 1,024 to 1e9 normal numbers, over their standard deviation
_VECTOR = 8  # elements; so many that are exactly 0, or exactly 1, no optimizer leaves
MOST = 0.5  # of the elements: what is trained has next to none, what is new has nearly all


@signal
def initial(training: Training) -> Mask:
    """[tensors]: matrices that start uniform, normal with a standard deviation of 0.02, or zero; vectors of 0 or of 1.

    False where they are small, were drawn otherwise, or were not recorded from the first step.
    """
    tensors = training.tensors
    recorded = training.recorded
    if not len(recorded) or recorded[0] != 0:
        return numpy.zeros(len(tensors), dtype=bool)
    norm, top = training.matrix("weight_norm")[0], training.matrix("weight_max_abs")[0]
    return numpy.asarray(
        [
            (is_drawn if len(tensor.shape) >= 2 else _is_constant)(tensor.elements, float(norm[i]), float(top[i]))
            for i, tensor in enumerate(tensors)
        ],
        dtype=bool,
    )


def is_drawn(elements: int, norm: float, top: float) -> bool:
    """Whether a matrix of so many elements, or a sample of them, is as an initialiser draws it."""
    if elements < _LEAST or not (math.isfinite(norm) and math.isfinite(top)):
        return False
    if norm == 0:
        return True
    rms = norm / math.sqrt(elements)
    uniform = abs(top / (rms * math.sqrt(3)) - 1) < _NEAR
    normal = elements >= _MANY and abs(rms / _STD - 1) < _WITHIN and _TAIL[0] < top / rms < _TAIL[1]
    return bool(uniform or normal)


def _is_constant(elements: int, norm: float, top: float) -> bool:
    return elements >= _VECTOR and (norm == 0 or (top == 1 and math.isclose(norm, math.sqrt(elements), rel_tol=1e-6)))


def initial_share(training: Training, own: Collection[int] | None = None) -> float:
    """The share of the elements of matrices that are `initial`, or that of vectors where it is larger; NaN without any.

    Without embedding tables, which everybody draws in a way of his own, and what is too small to tell.
    Of the tensors with the ids `own`; without them of all, trained or not: beside a pretrained backbone that no
    optimizer has, a new head and the matrices of LoRA are few.
    """
    tensors = training.tensors
    chosen = numpy.asarray([own is None or tensor.id in own for tensor in tensors], dtype=bool)
    matrix = numpy.asarray([len(tensor.shape) >= 2 for tensor in tensors], dtype=bool)
    table = numpy.asarray([tensor.role == "embedding" for tensor in tensors], dtype=bool)
    elements = numpy.asarray([tensor.elements for tensor in tensors], dtype=float)
    new = initial(training)
    kinds = (matrix & ~table & (elements >= _LEAST), ~matrix & (elements >= _VECTOR))
    shares = [_share(elements, new, chosen & kind) for kind in kinds]
    known = [share for share in shares if not math.isnan(share)]
    return max(known, default=math.nan)


def _share(elements: Floats, new: Mask, among: Mask) -> float:
    total = float(elements[among].sum())
    return float(elements[among & new].sum()) / total if total else math.nan
