"""Which rows of an embedding table are being trained: hits and movement, row by row."""

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch

MOST_ROWS = 262_144  # followed one by one; every vocabulary fits, a ten-million-row table is sampled
MOST_COLUMNS = 16  # of each row, above EXACT elements: a trained row is zero in all of them only by accident
EXACT = 2_000_000
EXAMPLES = 32


@dataclass(frozen=True)
class Snapshot:
    """Copies of the row facts at one step, on the device until the writer reads them."""

    rows: int
    row_stride: int
    hits: torch.Tensor  # [tracked] steps with a gradient
    first: torch.Tensor  # [tracked] the first of them, in counts of observed steps
    last: torch.Tensor  # [tracked] the last of them
    movement: torch.Tensor  # [tracked] |w - w0| / |w0| on the columns looked at
    hit_now: torch.Tensor
    checksum: torch.Tensor
    observed: int  # steps at which hits were counted

    def row(self) -> dict[str, Any]:
        """The columns of table `rows`; reads the device."""
        hits, first, last = (getattr(self, name).cpu().numpy() for name in ("hits", "first", "last"))
        movement = self.movement.cpu().numpy()
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
            "moved": int((movement != 0).sum()),
            "stopped": int(stopped.sum()),
            "checksum": int(self.checksum),
            "hits_histogram": bins.tolist(),
            "movement": medians,
            "never_hit_rows": (numpy.flatnonzero(hits == 0)[:EXAMPLES] * self.row_stride).tolist(),
            "stopped_rows": (numpy.flatnonzero(stopped)[:EXAMPLES] * self.row_stride).tolist(),
        }


class RowCounter:
    """Counts gradient hits of one table's rows, on its device, without synchronisation."""

    def __init__(self, weight: torch.Tensor) -> None:
        rows, columns = weight.shape
        self.rows = rows
        self.row_stride = max(1, -(-rows // MOST_ROWS))
        wide = columns > MOST_COLUMNS and weight.numel() > EXACT
        self.column_stride = -(-columns // MOST_COLUMNS) if wide else 1
        self.start = self._look(weight).float().clone()
        tracked = self.start.shape[0]
        self.hits = torch.zeros(tracked, dtype=torch.int64, device=weight.device)
        self.first = torch.full_like(self.hits, -1)
        self.last = torch.full_like(self.hits, -1)
        self.hit_now = torch.zeros((), dtype=torch.int64, device=weight.device)
        self.observed = 0

    def _look(self, table: torch.Tensor) -> torch.Tensor:
        return table.detach()[:: self.row_stride, :: self.column_stride]

    def observe(self, gradient: torch.Tensor | None) -> None:
        """Count the rows whose gradient is not all zero; sparse gradients name their rows."""
        if gradient is not None:
            if gradient.layout != torch.strided:
                named = torch.zeros(self.rows, dtype=torch.bool, device=gradient.device)
                named[gradient.detach().coalesce().indices()[0]] = True
                hit = named[:: self.row_stride]
            else:
                hit = (self._look(gradient) != 0).any(dim=1)
            self.hits += hit
            now = torch.full_like(self.last, self.observed)
            self.first = torch.where(hit & (self.first < 0), now, self.first)
            self.last = torch.where(hit, now, self.last)
            self.hit_now = hit.sum()
        else:
            self.hit_now = torch.zeros_like(self.hit_now)
        self.observed += 1

    def snapshot(self, weight: torch.Tensor) -> Snapshot:
        """The facts so far; `weight` is the table after the step."""
        scale = self.start.norm(dim=1)
        distance = (self._look(weight).float() - self.start).norm(dim=1)
        # A row that starts at zero has no relative movement; any change of it counts as one.
        movement = torch.where(scale > 0, distance / scale, (distance > 0).to(distance.dtype))
        return Snapshot(
            rows=self.rows,
            row_stride=self.row_stride,
            hits=self.hits.clone(),
            first=self.first.clone(),
            last=self.last.clone(),
            movement=movement,
            hit_now=self.hit_now.clone(),
            checksum=_checksum(weight),
            observed=self.observed,
        )


def _checksum(weight: torch.Tensor) -> torch.Tensor:
    """The sum of the bit patterns as integers: any single changed element changes it."""
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    return weight.detach().contiguous().view(integer).sum(dtype=torch.int64)
