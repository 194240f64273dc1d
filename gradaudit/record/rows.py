"""Which rows of an embedding table, or outputs of a Linear or Conv module, are being trained, row by row."""

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch

MOST_ROWS = 262_144  # followed one by one; every vocabulary fits, a ten-million-row table is sampled
MOST_COLUMNS = 16  # of each row, above EXACT elements: a trained row is zero in all of them only by accident
EXACT = 500_000
EXAMPLES = 32
SILENT = 30  # recorded steps without a gradient, after which a row is called silent
_SUMMED = 4_194_304  # elements summed at a time
_WINDOW = 16  # neighbouring columns looked at first: one cache line of a row


@dataclass(frozen=True)
class Snapshot:
    """Copies of the row facts at one step, on the device until the writer reads them."""

    rows: int
    row_stride: int
    hits: torch.Tensor  # [tracked] steps with a gradient
    first: torch.Tensor  # [tracked] the first of them, in counts of observed steps
    last: torch.Tensor  # [tracked] the last of them
    movement: torch.Tensor | None  # [tracked] |w - w0| / |w0| on the columns looked at; None for outputs
    hit_now: torch.Tensor
    checksum: torch.Tensor | None
    observed: int  # steps at which hits were counted

    def row(self) -> dict[str, Any]:
        """The columns of table `rows`; reads the device."""
        hits, first, last = (getattr(self, name).cpu().numpy() for name in ("hits", "first", "last"))
        movement = numpy.full(len(hits), math.nan) if self.movement is None else self.movement.cpu().numpy()
        interval = (last - first) / numpy.maximum(hits - 1, 1)
        stopped = (hits >= 5) & (self.observed - 1 - last > 20 * numpy.maximum(interval, 1))
        # Doubling bins: 0, 1, 2-3, 4-7, ...
        which = numpy.where(hits > 0, numpy.floor(numpy.log2(numpy.maximum(hits, 1))).astype(int) + 1, 0)
        bins = numpy.bincount(which)
        medians = [float(numpy.median(movement[which == bin])) if count else math.nan for bin, count in enumerate(bins)]
        return {
            "rows": self.rows,
            "tracked": len(hits),
            "hit": int(self.hit_now),
            "ever_hit": int((hits > 0).sum()),
            "moved": -1 if self.movement is None else int((movement != 0).sum()),
            "stopped": int(stopped.sum()),
            "silent": int((self.observed - 1 - last >= SILENT).sum()),
            "checksum": 0 if self.checksum is None else int(self.checksum),
            "hits_histogram": bins.tolist(),
            "movement": medians,
            "never_hit_rows": (numpy.flatnonzero(hits == 0)[:EXAMPLES] * self.row_stride).tolist(),
            "stopped_rows": (numpy.flatnonzero(stopped)[:EXAMPLES] * self.row_stride).tolist(),
        }


class _Hits:
    """How often and when each tracked row had a gradient, on the device, without synchronisation."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self.rows = rows
        self.row_stride = max(1, -(-rows // MOST_ROWS))
        tracked = -(-rows // self.row_stride)
        self.hits = torch.zeros(tracked, dtype=torch.int32, device=device)
        self.first = torch.full_like(self.hits, -1)
        self.last = torch.full_like(self.hits, -1)
        self.hit_now = torch.zeros((), dtype=torch.int64, device=device)
        self.observed = 0

    def _count(self, hit: torch.Tensor | None) -> None:
        """Count one step; `hit` is [tracked] flags, None when there was no gradient."""
        if hit is not None:
            self.hits += hit
            now = torch.full_like(self.last, self.observed)
            self.first = torch.where(hit & (self.first < 0), now, self.first)
            self.last = torch.where(hit, now, self.last)
            self.hit_now = hit.sum()
        else:
            self.hit_now = torch.zeros_like(self.hit_now)
        self.observed += 1

    def _snapshot(self, movement: torch.Tensor | None, checksum: torch.Tensor | None) -> Snapshot:
        return Snapshot(
            rows=self.rows,
            row_stride=self.row_stride,
            hits=self.hits.clone(),
            first=self.first.clone(),
            last=self.last.clone(),
            movement=movement,
            hit_now=self.hit_now.clone(),
            checksum=checksum,
            observed=self.observed,
        )


class RowCounter(_Hits):
    """Counts gradient hits of an embedding table's rows, and how far they moved."""

    def __init__(self, weight: torch.Tensor) -> None:
        rows, columns = weight.shape
        super().__init__(rows, weight.device)
        wide = columns > MOST_COLUMNS and weight.numel() > EXACT
        self.column_stride = -(-columns // MOST_COLUMNS) if wide else 1
        self.start = self._look(weight).float().clone()

    def _look(self, table: torch.Tensor) -> torch.Tensor:
        return table.detach()[:: self.row_stride, :: self.column_stride]

    def observe(self, gradient: torch.Tensor | None, zero_fraction: float) -> None:
        """Count the rows whose gradient is not all zero; sparse gradients name their rows."""
        if gradient is None:
            self._count(None)
        elif gradient.layout != torch.strided:
            named = torch.zeros(self.rows, dtype=torch.bool, device=gradient.device)
            # Not coalesced, which would wait for the device: a row that is named twice is one row.
            named.index_fill_(0, gradient.detach()._indices()[0], True)
            self._count(named[:: self.row_stride])
        else:
            self._count((self._look(gradient) != 0).any(dim=1))

    def snapshot(self, weight: torch.Tensor) -> Snapshot:
        """The facts so far; `weight` is the table after the step."""
        scale = self.start.norm(dim=1)
        distance = (self._look(weight).float() - self.start).norm(dim=1)
        # A row that starts at zero has no relative movement; any change of it counts as one.
        movement = torch.where(scale > 0, distance / scale, (distance > 0).to(distance.dtype))
        return self._snapshot(movement, _checksum(weight))


class OutputCounter(_Hits):
    """Counts the steps at which each output of a Linear or Conv module had a gradient; a unit that never has is dead.

    A module without a gradient at a step (an expert that was not chosen) is not observed at it.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(int(weight.shape[0]), weight.device)
        self.columns = weight.numel() // max(1, self.rows)
        self._whole = 0  # observations, not yet counted, at which every row was hit

    def observe(self, gradient: torch.Tensor | None, zero_fraction: float) -> None:
        """Count the rows that are not exactly zero; `zero_fraction` of a gradient on the CPU tells when none can be."""
        if gradient is None or gradient.layout != torch.strided:
            return
        table = gradient.detach().reshape(self.rows, -1)[:: self.row_stride]
        if table.device.type != "cpu":
            self._count((table != 0).any(dim=1))
        elif zero_fraction * gradient.numel() < self.columns - 0.5:
            self._whole += 1
        else:
            self._settle()
            self._count(_rows_with_a_value(table))

    def _settle(self) -> None:
        """Count the observations that were put off because every row was hit."""
        if self._whole:
            self.hits += self._whole
            self.first[self.first < 0] = self.observed
            self.observed += self._whole
            self.last.fill_(self.observed - 1)
            self.hit_now = torch.full_like(self.hit_now, len(self.hits))
            self._whole = 0

    def snapshot(self, weight: torch.Tensor) -> Snapshot:
        """The facts so far."""
        self._settle()
        return self._snapshot(None, None)


def _rows_with_a_value(table: torch.Tensor) -> torch.Tensor:
    """[rows] whether a row has a non-zero element; only rows that are zero in a few columns are read whole."""
    start = max(0, (table.shape[1] - _WINDOW) // 2)
    found = (table[:, start : start + _WINDOW] != 0).any(dim=1)
    doubtful = torch.nonzero(~found)[:, 0]
    if len(doubtful):
        found[doubtful] = (table[doubtful] != 0).any(dim=1)
    return found


def _checksum(weight: torch.Tensor) -> torch.Tensor:
    """The sum of the bit patterns as integers: any single changed element changes it."""
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    # Summed as 64-bit integers in one go, a table would be copied to twice its size.
    blocks = torch.split(weight.detach().contiguous().view(integer).reshape(-1), _SUMMED)
    return torch.stack([block.sum(dtype=torch.int64) for block in blocks]).sum()
