"""What the table `rows` knows of each embedding: whether it moved, and which of its rows are trained."""

from typing import Any

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats, Integers
from gradaudit.training import Training, signal


class RowHistory(msgspec.Struct, frozen=True, eq=False):
    """The rows of one embedding table over the run; counts are those of the last record."""

    first_step: int  # this optimizer's own steps
    last_step: int
    rows: int
    tracked: int
    ever_hit: int
    moved: int
    stopped: int
    hit_share: float  # median share of the tracked rows with a gradient at one step; NaN when no step had any
    same_checksum: bool  # at every record: not one bit of the table changed
    hits: list[int]  # tracked rows by hits so far: 0, 1, 2-3, 4-7, ...
    movement: list[float]  # median relative movement in each of these bins
    never_hit_rows: list[int]
    stopped_rows: list[int]
    steps: Integers  # [records] this optimizer's own steps
    reached: Floats  # [records] share of the tracked rows that had a gradient so far
    changed: Floats  # [records] share of the tracked rows that differ from the start

    @property
    def never_hit(self) -> int:
        """Tracked rows without a gradient so far."""
        return self.tracked - self.ever_hit

    @property
    def never_hit_share(self) -> float:
        """The share of the tracked rows without a gradient so far; 0 where none is tracked."""
        return self.never_hit / self.tracked if self.tracked else 0.0

    @property
    def stopped_share(self) -> float:
        """The share of the rows that ever had a gradient that no longer have one; 0 where none had."""
        return self.stopped / self.ever_hit if self.ever_hit else 0.0


@signal
def row_history(training: Training, tensor: int) -> RowHistory | None:
    """The history of one table, or None when its rows were not recorded."""
    frame = training.run.rows
    frame = frame[(frame["optimizer"] == training.id) & (frame["tensor"] == tensor)]
    if not len(frame):
        return None
    last = frame.iloc[-1]
    tracked = numpy.maximum(frame["tracked"].to_numpy(dtype=float), 1)
    share = frame["hit"].to_numpy(dtype=float) / tracked
    hit = share[share > 0]
    return RowHistory(
        first_step=int(frame["step"].iloc[0]),
        last_step=int(last["step"]),
        rows=_whole(last["rows"]),
        tracked=_whole(last["tracked"]),
        ever_hit=_whole(last["ever_hit"]),
        moved=_whole(last["moved"]),
        stopped=_whole(last["stopped"]),
        hit_share=float(numpy.median(hit)) if len(hit) else float("nan"),
        same_checksum=len(frame) > 1 and frame["checksum"].nunique(dropna=False) == 1,
        hits=[_whole(value) for value in _list(last["hits_histogram"])],
        movement=[float(value) for value in _list(last["movement"])],
        never_hit_rows=[_whole(value) for value in _list(last["never_hit_rows"])],
        stopped_rows=[_whole(value) for value in _list(last["stopped_rows"])],
        steps=frame["step"].to_numpy(dtype=numpy.int64),
        reached=frame["ever_hit"].to_numpy(dtype=float) / tracked,
        changed=frame["moved"].to_numpy(dtype=float) / tracked,
    )


class NoGradient(msgspec.Struct, frozen=True):
    """No row ever has a gradient, and still some change."""

    table: str
    history: RowHistory


class UnusedRows(msgspec.Struct, frozen=True):
    """Most rows of a large table never have a gradient."""

    table: str
    history: RowHistory


class DeadRows(msgspec.Struct, frozen=True):
    """Rows that had gradients have had none for long."""

    table: str
    history: RowHistory


def bin_label(index: int) -> str:
    """The label of a bin of `RowHistory.hits`: 0, 1, 2-3, 4-7, ..."""
    if index < 2:
        return str(index)
    return f"{2 ** (index - 1):,}-{2**index - 1:,}"


def _whole(value: Any) -> int:
    return int(value) if value is not None and value == value else 0


def _list(value: Any) -> list[Any]:
    return [] if value is None or isinstance(value, float) else list(value)
