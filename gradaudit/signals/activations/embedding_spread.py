"""How much the embeddings that an objective compares differ over a batch, from the first steps to the end of a run."""

from typing import NamedTuple

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import EmbeddingFacts
from gradaudit.signals.order_statistics import Floats, Integers, median
from gradaudit.signals.run.last_tenth import EndUnknown, reaches, steps_of_run

_FIRST, _LAST = 3, 3  # looks that the start and the end are a median of
_FEWEST = 8  # looks; of a run of fewer steps nothing is said


class EmbeddingSpread(NamedTuple):
    """The embeddings of one layer over a run.

    The spread is that of their directions: 1 where they point anywhere, 0 where all point one way. Where distances are
    compared the length counts, and it is the standard deviation over that of the first steps.
    """

    layer: str
    compared: str  # cosine, distance, product
    rows: int  # examples of a batch
    start: float
    end: float
    steps: Integers
    values: Floats


def embedding_spreads(run: Run) -> list[EmbeddingSpread | EndUnknown]:
    """Of each layer whose outputs are compared; of those that were looked at often enough."""
    steps = steps_of_run(run)
    found: list[EmbeddingSpread | EndUnknown] = []
    for facts in run.meta.graph.embeddings:
        looks = [(look.step, _value(facts, look.directions, look.std)) for look in facts.looks]
        known = [(step, value) for step, value in looks if value is not None]
        if len(known) < _FEWEST:
            continue
        at, values = numpy.array([step for step, _ in known]), numpy.array([value for _, value in known], dtype=float)
        if not reaches(float(at[-1]), steps):
            found.append(EndUnknown(float(at[-1]), steps))
            continue
        if facts.compared == "distance" and median(values[:_FIRST]) > 0:
            values = values / median(values[:_FIRST])
        name = next((one.name for one in run.meta.tensors if one.id == facts.tensor), "")
        start, end = median(values[:_FIRST]), median(values[-_LAST:])
        layer = name.removesuffix(".weight")
        found.append(EmbeddingSpread(layer, facts.compared, facts.rows, start, end, at, values))
    return found


def _value(facts: EmbeddingFacts, directions: float | None, std: float | None) -> float | None:
    return std if facts.compared == "distance" else directions
