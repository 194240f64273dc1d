"""Why an embedding table does not change, and what goes with one that learns too slowly."""

import math

import msgspec
import numpy

from gradaudit.schema import TensorFacts
from gradaudit.signals.embeddings.embedding_rows import RowHistory
from gradaudit.signals.embeddings.embedding_update_ratio import EmbeddingUpdateRatio
from gradaudit.signals.layers.calls import use_of
from gradaudit.signals.layers.unchanged import Reason, column_of, probed_whole, reason_unchanged
from gradaudit.signals.thresholds import threshold
from gradaudit.signals.updates.learning_rates import is_adaptive, recorded_learning_rates
from gradaudit.training import Training


class UnchangedTable(msgspec.Struct, frozen=True):
    """A table that nothing changes, and what is known of why."""

    table: TensorFacts
    reason: Reason
    use: str  # what the forward passes do with it, as `use_of` tells
    most_are_outside: bool  # most other parameters are in no optimizer, either
    is_exact: bool  # its checksums are equal, or every element of it was compared


def unchanged_table(training: Training, table: TensorFacts, history: RowHistory | None) -> UnchangedTable:
    """What is known of why nothing changes a table."""
    others = [t for t in training.run.meta.tensors if t.id != table.id and t.requires_grad]
    outside = sum(t.elements for t in others if t.optimizer < 0)
    backbone = threshold(training.run, "frozen_parameter.backbone", 0.5)
    return UnchangedTable(
        table=table,
        reason=reason_unchanged(training, table),
        use=use_of(training.run, table),
        most_are_outside=outside > backbone * sum(t.elements for t in others),
        is_exact=probed_whole(table) or (history is not None and history.same_checksum),
    )


class SlowTable(msgspec.Struct, frozen=True):
    """How far a table is behind the layers and behind another table, and its learning rate."""

    table: TensorFacts
    ratio: EmbeddingUpdateRatio
    times: float  # by which its rows change less than the median layer; infinite where they do not change
    share_of_fastest: float  # of what the fastest other table moves by; NaN where there is none
    peak_rate: float  # greatest learning rate of its parameter group; NaN where none is known
    suggested_rate: float  # NaN where none above 0 is known
    is_adaptive: bool  # the optimizer divides by the size of the gradient


def slow_table(training: Training, table: TensorFacts, ratio: EmbeddingUpdateRatio, share: float) -> SlowTable:
    """The numbers of a table that learns too slowly; `share` is that of the fastest other table."""
    rates = recorded_learning_rates(training)[:, column_of(training, table)]
    known = rates[numpy.isfinite(rates)]
    rate = float(known.max()) if len(known) else math.nan
    times = 1 / ratio.relative if ratio.relative > 0 else math.inf
    decades = max(1, min(2, round(math.log10(times)))) if math.isfinite(times) else 2
    return SlowTable(
        table=table,
        ratio=ratio,
        times=times,
        share_of_fastest=share,
        peak_rate=rate,
        suggested_rate=rate * 10**decades if rate > 0 else math.nan,
        is_adaptive=is_adaptive(training),
    )
