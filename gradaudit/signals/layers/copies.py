"""Which tensors are copies of trained ones: target networks, teachers and averages, which a script updates itself."""

import math
from collections import defaultdict

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.order_statistics import Mask
from gradaudit.training import signal

_Prefix = tuple[str, ...]
_Parts = dict[_Prefix, list[TensorFacts]]


@signal
def copies(run: Run) -> dict[int, TensorFacts]:
    """Of each tensor that is a copy, by id, the trained one that it is a copy of.

    A part of the model without any gradient has the names and shapes of a part that is trained, under another prefix,
    and at its first record the same values: the norm and the greatest of random weights agree to the last bit in copies
    only. Layers of one list may begin equal as well (`nn.TransformerEncoder` makes them so) and are no copies here.
    """
    has_nonzero_grad, values = _with_grad(run), _first_values(run)
    trained = _parts([t for t in run.meta.tensors if t.optimizer >= 0 and t.id in has_nonzero_grad])
    known = defaultdict(list)
    for prefix, members in trained.items():
        known[_below(prefix, members)].append(prefix)
    found: dict[int, TensorFacts] = {}
    silent = _parts([t for t in run.meta.tensors if t.id not in has_nonzero_grad and t.elements])
    for prefix, members in sorted(silent.items(), key=lambda part: len(part[0])):
        if not prefix or any(tensor.id in found for tensor in members):
            continue
        for candidate in known.get(_below(prefix, members), ()):
            twins = {_rest(candidate, tensor): tensor for tensor in trained[candidate]}
            pairs = [(tensor, twins[_rest(prefix, tensor)]) for tensor in members]
            if not _in_one_list(prefix, candidate) and _equal(values, pairs):
                found |= {mine.id: twin for mine, twin in pairs}
                break
    return found


def _with_grad(run: Run) -> set[int]:
    """The tensors that had a gradient at some record."""
    found: set[int] = set()
    for training in map(run.training, {tensor.recorded_with for tensor in run.meta.tensors}):
        present: Mask = numpy.asarray((training.matrix("has_grad") > 0).any(axis=0))
        found |= {training.tensors[place].id for place in numpy.flatnonzero(present).tolist()}
    return found


def _first_values(run: Run) -> dict[int, tuple[float, float]]:
    """The norm of each tensor's weights and the greatest of them, at the first record that has them."""
    found: dict[int, tuple[float, float]] = {}
    for training in map(run.training, {tensor.recorded_with for tensor in run.meta.tensors}):
        norms, greatest = (training.matrix(stat) for stat in ("weight_norm", "weight_max_abs"))
        if not len(norms):
            continue
        first = numpy.argmax(numpy.isfinite(norms), axis=0), numpy.arange(norms.shape[1])
        pairs = zip(norms[first].tolist(), greatest[first].tolist(), strict=True)
        found |= {t.id: pair for t, pair in zip(training.tensors, pairs, strict=True)}
    return found


def _parts(tensors: list[TensorFacts]) -> _Parts:
    """The tensors under each prefix of their names, the empty one included."""
    found: _Parts = defaultdict(list)
    for tensor in tensors:
        steps = tensor.name.split(".")
        for length in range(len(steps)):
            found[tuple(steps[:length])].append(tensor)
    return found


def _rest(prefix: _Prefix, tensor: TensorFacts) -> str:
    return ".".join(tensor.name.split(".")[len(prefix) :])


def _below(prefix: _Prefix, members: list[TensorFacts]) -> frozenset[tuple[str, tuple[int, ...]]]:
    """The names below a prefix, with their shapes."""
    return frozenset((_rest(prefix, tensor), tuple(tensor.shape)) for tensor in members)


def _in_one_list(one: _Prefix, other: _Prefix) -> bool:
    """Whether two prefixes differ in numbers only."""
    if len(one) != len(other):
        return False
    return all(mine.isdigit() and its.isdigit() for mine, its in zip(one, other, strict=True) if mine != its)


def _equal(values: dict[int, tuple[float, float]], pairs: list[tuple[TensorFacts, TensorFacts]]) -> bool:
    """Whether all have the same values at their first record, and one of them is a matrix that is not zero."""
    unknown = (math.nan, math.nan)
    first = [(values.get(mine.id, unknown), values.get(twin.id, unknown)) for mine, twin in pairs]
    telling = any(len(mine.shape) >= 2 and value[0] > 0 for (mine, _), (value, _) in zip(pairs, first, strict=True))
    return telling and all(one[0] == other[0] and one[1] == other[1] for one, other in first)
