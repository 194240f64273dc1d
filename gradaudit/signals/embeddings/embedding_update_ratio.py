"""How fast an embedding table learns beside the weight layers of its optimizer."""

import math

import msgspec
import numpy

from gradaudit.signals.embeddings.embedding_rows import row_history
from gradaudit.signals.layers.layers import comparable_layers, zero_initialised
from gradaudit.signals.order_statistics import Floats, median, medians
from gradaudit.signals.updates.learning_rates import is_adaptive
from gradaudit.signals.updates.ratios import step_weights, update_ratio
from gradaudit.training import Training, signal

_MOST_PROBED = 4096  # elements of a table behind update_norm, where the record does not tell
_ENOUGH = 30  # probed elements that move; with fewer a median over the steps is mostly sampling noise


class EmbeddingUpdateRatio(msgspec.Struct, frozen=True):
    """Update-to-weight ratios of a table and of the median weight layer, and what they come to."""

    table: float
    layers: float
    hit_share: float  # share of the rows with a gradient at one step
    relative: float  # table / layers / sqrt(hit_share)
    update: float  # root mean square of a step's update of an element in a row that it hits


@signal
def embedding_update_ratio(training: Training, tensor: int) -> EmbeddingUpdateRatio | None:
    """The update-to-weight ratio of one table; None where it or that of the layers is unknown, or the sample small.

    A step moves only the rows that were hit, so the norm of a table's update is smaller by the square
    root of their share. Medians over the steps; where the sample holds few elements of hit rows,
    root mean squares instead, which sampling does not bias.
    """
    tensors = training.tensors
    column = next(index for index, facts in enumerate(tensors) if facts.id == tensor)
    ratios, weights = update_ratio(training), step_weights(training)
    if not numpy.isfinite(ratios[:, column]).any():
        return None
    # SparseAdam and the like hold nothing but tables: those are compared with the layers of the others.
    own_layers = comparable_layers(training).any()
    beside = [training] if own_layers else training.run.trainings
    history = row_history(training, tensor)
    share = history.hit_share if history is not None else math.nan
    if math.isnan(share):
        zeros = median(training.matrix("gradient_zero_fraction")[:, column])
        share = 1.0 if math.isnan(zeros) else 1 - zeros
    if share <= 0:
        return None
    updates = training.matrix("update_norm")[:, [column]]
    elements, probed = tensors[column].elements, tensors[column].probed
    expected = min(elements, probed if probed >= 0 else _MOST_PROBED) * share
    if expected >= _ENOUGH:
        own, size = medians(ratios[:, [column]], weights)[0], medians(updates, weights)[0]
        others = median(numpy.concatenate([medians(_layers(other), step_weights(other)) for other in beside]))
    elif expected * len(ratios) >= 100 * _ENOUGH:
        own, size = _root_mean_squares(ratios[:, [column]], weights)[0], _root_mean_squares(updates, weights)[0]
        squares = [_root_mean_squares(_layers(other), step_weights(other)) for other in beside]
        others = median(numpy.concatenate(squares))
    else:
        return None
    if not others > 0:
        return None
    relative = float(own) / float(others) / math.sqrt(share)
    return EmbeddingUpdateRatio(float(own), float(others), share, relative, float(size) / math.sqrt(share * elements))


def table_speeds(training: Training, update_ratios: dict[int, EmbeddingUpdateRatio | None]) -> dict[int, float]:
    """What tables are compared with each other by; those without a ratio or a size at the start are left out."""
    empty = {t.id for t, zero in zip(training.tensors, zero_initialised(training), strict=True) if zero}
    known = {
        table: update_ratio
        for table, update_ratio in update_ratios.items()
        if update_ratio is not None and table not in empty
    }
    # Adam moves all elements alike: a ratio then tells how large the tables started, and nothing of their gradients.
    absolute = is_adaptive(training)
    return {table: update_ratio.update if absolute else update_ratio.relative for table, update_ratio in known.items()}


def share_of_fastest(training: Training, tables: list[int]) -> dict[int, float]:
    """By table: its speed over that of the fastest of the other tables; NaN where one of the two is not known."""
    speeds = table_speeds(training, {table: embedding_update_ratio(training, table) for table in tables})
    shares = {}
    for table in tables:
        fastest = max((speed for other, speed in speeds.items() if other != table), default=0.0)
        shares[table] = speeds[table] / fastest if table in speeds and fastest > 0 else math.nan
    return shares


def _layers(training: Training) -> Floats:
    ratios: Floats = update_ratio(training)[:, comparable_layers(training)]
    return ratios


def _root_mean_squares(values: Floats, weights: Floats) -> Floats:
    finite = numpy.isfinite(values)
    mass = numpy.where(finite, weights[:, None], 0.0)
    total = mass.sum(axis=0)
    squares = (numpy.where(finite, values, 0.0) ** 2 * mass).sum(axis=0)
    return numpy.asarray(numpy.sqrt(squares / numpy.where(total > 0, total, numpy.nan)))
