"""How large every tensor's gradient is at every recorded step, reduced to rows and columns that can be drawn."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy

from gradaudit.derived.ratios import last_half
from gradaudit.derived.reduce import blocks
from gradaudit.findings import Heatmap
from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]

MOST_ROWS, MOST_COLUMNS = 240, 280  # of a heatmap: more is thinner than a pixel


class Track:
    """One optimizer's tensors and their gradient RMS per element at each recorded step."""

    def __init__(self, run: Run, optimizer: int) -> None:
        self.tensors = run.tensors_of(optimizer)
        self._run, self._optimizer = run, optimizer
        place = run.steps_of(optimizer).set_index("step")["global_step"]
        place = place[~place.index.duplicated(keep="last")].reindex(run.recorded_steps(optimizer))
        # A damaged part of `steps` may have been left out: then nobody knows where these rows belong.
        self._known = place.notna().to_numpy()
        self.steps = place.to_numpy(dtype=float)[self._known]  # [recorded] global steps
        self.late = last_half(run, optimizer)[self._known]  # [recorded] whether in the second half of the run
        size = numpy.sqrt([max(1, tensor.elements) for tensor in self.tensors])
        has_grad = self.matrix("has_grad")
        broken = self.matrix("gradient_nan") + self.matrix("gradient_inf")
        self.bad = numpy.nan_to_num(broken) > 0  # [recorded, tensors]
        norm = self.matrix("gradient_norm")
        # A gradient that is None counts as zero: either way the tensor learns nothing at this step.
        norm = numpy.where((has_grad == 0) & ~self.bad, 0.0, norm)
        self.rms = norm / size  # [recorded, tensors]; NaN where not recorded
        with numpy.errstate(divide="ignore"):
            self.log = numpy.where(self.bad, numpy.nan, numpy.log10(self.rms))

    def matrix(self, stat: str) -> Floats:
        """[recorded steps, tensors] of one column of `tensors`."""
        return self._run.matrix(stat, self._optimizer)[self._known]

    def reduced(self, borders: Floats) -> tuple[Floats, Floats, Floats]:
        """[columns, tensors] of log10 RMS (median of each column), of "always zero" and of "once not finite".

        A column without a recorded step repeats the one before it: statistics are recorded ever more sparsely.
        """
        columns, count = len(borders) - 1, len(self.tensors)
        log = numpy.full((columns, count), numpy.nan)
        zero, bad = numpy.zeros((columns, count), bool), numpy.zeros((columns, count), bool)
        cuts = numpy.searchsorted(self.steps, borders)
        for column in range(columns):
            a, b = cuts[column], cuts[column + 1]
            if a == b:
                if column and a:
                    log[column], zero[column], bad[column] = log[column - 1], zero[column - 1], bad[column - 1]
                continue
            part = self.log[a:b]
            zero[column] = numpy.isneginf(part).all(axis=0)
            bad[column] = self.bad[a:b].any(axis=0)
            log[column] = median(numpy.where(numpy.isfinite(part), part, numpy.nan))
        return log, zero, bad


def median(values: Floats) -> Floats:
    """Median over the first axis, NaN left out; NaN where nothing is left."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return numpy.asarray(numpy.nanmedian(values, axis=0), dtype=numpy.float64)


def edges(tracks: Sequence[Track], most: int, end: float) -> Floats:
    """Edges of at most `most` columns of equal width, from the first recorded step to `end`."""
    steps = numpy.unique(numpy.concatenate([track.steps for track in tracks]))
    return numpy.linspace(steps[0], max(end, steps[-1] + 1), min(most, len(steps)) + 1)


def gradient_heatmap(tracks: Sequence[Track], flagged: set[str], end: int, *, matrices: bool) -> Heatmap | None:
    """log10 gradient RMS per element up to step `end` of all matrices, or of all vectors and scalars; None without."""
    tracks = [track for track in tracks if len(track.steps)]
    if not tracks:
        return None
    borders = edges(tracks, MOST_COLUMNS, end)
    tensors: list[TensorFacts] = []
    parts = []
    for track in tracks:
        mine = [i for i, tensor in enumerate(track.tensors) if (len(tensor.shape) >= 2) == matrices]
        tensors += [track.tensors[i] for i in mine]
        parts.append([array[:, mine].T for array in track.reduced(borders)])
    if not tensors:
        return None
    log, zero, bad = (numpy.concatenate(arrays) for arrays in zip(*parts, strict=True))
    rows = _rows([tensor.name for tensor in tensors], flagged)
    values, zeros, bads = [], [], []
    for _, members in rows:
        middle = median(log[members])
        values.append([None if math.isnan(value) else round(float(value), 2) for value in middle])
        bads.append(numpy.flatnonzero(bad[members].any(axis=0)).tolist())
        zeros.append(numpy.flatnonzero(zero[members].all(axis=0)).tolist())
    names = [name for name, _ in rows]
    return Heatmap(
        title="Weight matrices" if matrices else "Norms and biases",
        caption="One row for each parameter tensor, the input at the top; colour is the size of its gradient "
        "per element, after clipping.",
        rows=names,
        first_step=int(borders[0]),
        last_step=int(borders[-1]),
        values=values,
        zero=zeros,
        bad=bads,
        groups=blocks([tensors[members[0]].name for _, members in rows]),
        flagged=[name for name in names if name in flagged],
    )


def _rows(names: Sequence[str], flagged: set[str]) -> list[tuple[str, list[int]]]:
    """The heatmap's rows: each its name and which tensors it stands for; at most `MOST_ROWS`.

    Neighbours under one module path are merged, as deep a path as will do; a flagged tensor stays alone.
    """
    if len(names) <= MOST_ROWS:
        return [(name, [i]) for i, name in enumerate(names)]
    alone = set(sorted(flagged & set(names))[: MOST_ROWS // 4])
    deepest = max(name.count(".") for name in names)
    for depth in range(deepest, -1, -1):
        rows: list[tuple[tuple[str, ...], list[int]]] = []
        for i, name in enumerate(names):
            path = (name,) if name in alone else tuple(name.split(".")[:-1])[:depth]
            if rows and rows[-1][0] == path:
                rows[-1][1].append(i)
            else:
                rows.append((path, [i]))
        if 1 < len(rows) <= MOST_ROWS:
            return [(_row_name(".".join(path), members, names), members) for path, members in rows]
    chunks = numpy.array_split(numpy.arange(len(names)), MOST_ROWS - len(alone) * 2 if alone else MOST_ROWS)
    split: list[tuple[str, list[int]]] = []
    for chunk in chunks:
        members: list[int] = []
        for i in chunk.tolist():
            if names[i] in alone:
                split += [(_row_name("", members, names), members)] if members else []
                split.append((names[i], [i]))
                members = []
            else:
                members.append(i)
        split += [(_row_name("", members, names), members)] if members else []
    return split


def _row_name(path: str, members: Sequence[int], names: Sequence[str]) -> str:
    if len(members) == 1:
        return names[members[0]]
    return f"{path or f'{names[members[0]]} …'} ({len(members)} tensors)"
