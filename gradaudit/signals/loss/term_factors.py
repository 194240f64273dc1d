"""Terms of an objective that are divided by the size of their batch, as the autograd graph tells their factors."""

from typing import NamedTuple

import numpy

from gradaudit.schema import LossFacts, TermFacts
from gradaudit.signals.order_statistics import Floats, Integers

_DIFFER = 1.1  # times: batches that differ by less leave it open what their factor follows
_NODES = {"cross_entropy": "nll_loss"}  # what the graph calls a function


class Divided(NamedTuple):
    """A term whose factor is a weight over the size of the batch."""

    steps: Integers  # [backwards with another factor] global
    sizes: Floats  # [backwards] examples
    factors: Floats  # [backwards]
    varies: float  # greatest of factor * size over the least


def divided_term(terms: list[TermFacts], optimizer: int, facts: LossFacts, same: float) -> Divided | None:
    """The term of this loss, if it is divided by the size of each batch; `same` is how much a weight may vary."""
    name = _NODES.get(facts.function, facts.function)
    mine = [one for one in terms if one.function == name and optimizer in one.optimizers]
    # Two terms of one function: which of them is the loss is not known.
    known = [one for one in mine[0].factors if one.factor and one.batch] if len(mine) == 1 else []
    if not known or len(known) < len(mine[0].factors):
        return None
    sizes = numpy.array([one.batch for one in known], dtype=float)
    factors = numpy.array([one.factor for one in known], dtype=float)
    weights = numpy.abs(factors * sizes)
    varies = float(weights.max() / weights.min())
    if sizes.max() < _DIFFER * sizes.min() or varies > same:
        return None
    return Divided(numpy.array([max(0, one.step) for one in known]), sizes, factors, varies)
