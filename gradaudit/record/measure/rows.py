"""Which rows of an embedding table, or outputs of a Linear or Conv module, are being trained, row by row."""

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from gradaudit.record.measure.on_device import entries
from gradaudit.schema import TensorFacts

MOST_ROWS = 262_144  # followed one by one; every vocabulary fits, a ten-million-row table is sampled
# Neighbouring columns of each row, one cache line, looked at first; in tables above EXACT elements the only ones,
# since a trained row is zero in all of them only by accident.
WINDOW = 16
EXACT = 500_000
EXAMPLES = 32
TOGETHER = 10  # steps whose hits are counted at once
SILENT = 30  # recorded steps without a gradient, after which a row is called silent
_BLOCK = 131072  # elements of a table compared at once, so that they stay in the cache
_SUMMED = 4_194_304  # elements summed at a time
# Everything but the signs of the floats in a word of eight bytes, by their size: -0.0 is a zero.
_UNSIGNED = {2: 0x7FFF7FFF7FFF7FFF, 4: 0x7FFFFFFF7FFFFFFF, 8: 0x7FFFFFFFFFFFFFFF}


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
        # On the CPU, what later steps found: [tracked] flags, None where every row was hit.
        self._found: list[Any] = []

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

    def _count_later(self, found: Any) -> None:
        """Count one step on the CPU together with others: the calls for one cost as much as those for ten."""
        self._found.append(found)
        if len(self._found) >= TOGETHER:
            self._settle()

    def _settle(self) -> None:
        steps = len(self._found)
        if not steps:
            return
        hits, first, last = self.hits.numpy(), self.first.numpy(), self.last.numpy()
        if all(found is None for found in self._found):
            hits += steps
            first[first < 0] = self.observed
            last[:] = self.observed + steps - 1
            now = len(hits)
        else:
            table = numpy.ones((steps, len(hits)), dtype=bool)
            for step, found in enumerate(self._found):
                if found is not None:
                    table[step] = found
            hit = table.any(axis=0)
            hits += table.sum(axis=0)
            numpy.copyto(first, self.observed + table.argmax(axis=0), where=hit & (first < 0))
            numpy.copyto(last, self.observed + steps - 1 - table[::-1].argmax(axis=0), where=hit)
            now = int(table[-1].sum())
        self.hit_now = torch.tensor(now)
        self.observed += steps
        self._found = []

    def _snapshot(self, movement: torch.Tensor | None, checksum: torch.Tensor | None) -> Snapshot:
        self._settle()
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
        self.columns = slice(None)
        if columns > WINDOW and weight.numel() > EXACT:
            self.columns = slice((columns - WINDOW) // 2, (columns + WINDOW) // 2)
        self.start = self._look(weight).float().clone()
        self._scale = self.start.norm(dim=1)

    def _look(self, table: torch.Tensor) -> torch.Tensor:
        return table.detach()[:: self.row_stride, self.columns]

    def observe(self, gradient: torch.Tensor | None, zero_fraction: float) -> None:
        """Count the rows whose gradient is not all zero; sparse gradients name their rows."""
        hit = None
        if gradient is not None and gradient.layout != torch.strided:
            named = torch.zeros(self.rows, dtype=torch.bool, device=gradient.device)
            # Not coalesced, which would wait for the device: a row that is named twice is one row.
            named.index_fill_(0, entries(gradient.detach())[1][0], True)
            hit = named[:: self.row_stride]
        elif gradient is not None:
            looked = self._look(gradient)
            if looked.device.type == "cpu":
                self._count_later(_rows_with_a_value(looked))
                return
            hit = (looked != 0).any(dim=1)
        self._settle()
        self._count(hit)

    def snapshot(self, weight: torch.Tensor) -> Snapshot:
        """The facts so far; `weight` is the table after the step."""
        looked, each = self._look(weight), max(1, _BLOCK // max(1, self.start.shape[1]))
        blocks = zip(torch.split(looked, each), torch.split(self.start, each), strict=True)
        distance = torch.cat([(now.float() - start).norm(dim=1) for now, start in blocks])
        # A row that starts at zero has no relative movement; any change of it counts as one.
        movement = torch.where(self._scale > 0, distance / self._scale, (distance > 0).to(distance.dtype))
        return self._snapshot(movement, _checksum(weight))


class OutputCounter(_Hits):
    """Counts the steps at which each output of a Linear or Conv module had a gradient; a unit that never has is dead.

    A module without a gradient at a step (an expert that was not chosen) is not observed at it.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(int(weight.shape[0]), weight.device)
        self.columns = weight.numel() // max(1, self.rows)

    def observe(self, gradient: torch.Tensor | None, zero_fraction: float) -> None:
        """Count the rows that are not exactly zero; `zero_fraction` of a gradient on the CPU tells when none can be."""
        if gradient is None or gradient.layout != torch.strided:
            return
        if gradient.device.type == "cpu" and zero_fraction * gradient.numel() < self.columns - 0.5:
            self._count_later(None)
            return
        table = gradient.detach().reshape(self.rows, -1)[:: self.row_stride]
        if table.device.type == "cpu":
            self._count_later(_rows_with_a_value(table))
        else:
            self._count((table != 0).any(dim=1))

    def snapshot(self, weight: torch.Tensor) -> Snapshot:
        """The facts so far."""
        return self._snapshot(None, None)


def counter_for(facts: TensorFacts, parameter: torch.Tensor) -> type[RowCounter] | type[OutputCounter] | None:
    """What counts the rows of a parameter; None where it has none, or a part of them: those are another rank's, too."""
    if facts.placements or not parameter.numel():
        return None
    if facts.role == "embedding" and parameter.ndim == 2:
        return RowCounter
    return OutputCounter if facts.output_axis == 0 and not parameter.is_complex() else None


def _rows_with_a_value(table: torch.Tensor) -> Any:
    """[rows] whether a row of [rows, columns] on the CPU has a non-zero element; few rows are read whole."""
    if table.dtype not in (torch.float32, torch.float64):
        return _any_bit(table)
    values = table.numpy()
    middle = values.shape[1] // 2
    found = values[:, middle] != 0
    if numpy.count_nonzero(found) < len(found) - len(found) // 8:
        found = values[:, max(0, middle - WINDOW // 2) : middle + WINDOW // 2].any(axis=1)
    doubtful = numpy.flatnonzero(~found)
    if len(doubtful) > len(found) // 8:
        return _any_bit(table)
    if len(doubtful):
        found[doubtful] = values[doubtful].any(axis=1)
    return found


def _any_bit(table: torch.Tensor) -> Any:
    """The same from the bits of whole rows, several times faster than comparing each element."""
    unsigned, size = _UNSIGNED.get(table.element_size()), table.element_size()
    whole = unsigned is not None and table.is_contiguous() and not table.shape[1] * size % 8
    # A gradient may be a view into a flat buffer that begins within a word.
    if unsigned is None or not whole or table.storage_offset() * size % 8:
        return (table != 0).any(dim=1).numpy()
    words = numpy.bitwise_or.reduce(table.view(torch.int64).numpy(), axis=1)
    return words & unsigned != 0


def _checksum(weight: torch.Tensor) -> torch.Tensor:
    """The sum of the bit patterns as integers: any single changed element changes it."""
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    patterns = weight.detach().contiguous().view(integer).reshape(-1)
    if patterns.device.type == "cpu":
        return torch.tensor(int(patterns.numpy().sum(dtype=numpy.int64)), device="cpu")
    # Summed as 64-bit integers in one go, a table would be copied to twice its size.
    return torch.stack([block.sum(dtype=torch.int64) for block in torch.split(patterns, _SUMMED)]).sum()
