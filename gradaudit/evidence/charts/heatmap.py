"""The gradient of every tensor over the steps, as rows and columns that can be drawn."""

import math
from collections.abc import Sequence

import numpy

from gradaudit.chart_data import Heatmap
from gradaudit.evidence.charts.reduce import blocks
from gradaudit.schema import TensorFacts
from gradaudit.signals.gradients.gradient_scale import Track, edges, median

MOST_ROWS, MOST_COLUMNS = 240, 280  # of a heatmap: more is thinner than a pixel


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
