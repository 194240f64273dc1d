"""Charts of what the ranks of one training have apart: which of them drifts, and from which step."""

import msgspec
import numpy

from gradaudit.evidence.charts.reduce import WIDEST, banded, plain, short
from gradaudit.evidence.words.wording import count, names
from gradaudit.findings import Lines, Mark, Series
from gradaudit.signals.order_statistics import Floats, medians_across
from gradaudit.signals.ranks.replicas import Checksums, SideBySide, spread
from gradaudit.signals.smoothing import smooth

_MOST_LINES = 4


def against_others(values: Floats) -> Floats:
    """[steps, ranks]: each rank's value less the mean of the other ranks; what all ranks share drops out."""
    known = numpy.isfinite(values)
    whole = numpy.where(known, values, 0.0).sum(axis=1, keepdims=True)
    others = known.sum(axis=1, keepdims=True) - 1
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where(others > 0, values - (whole - values) / others, numpy.nan)


def agreement_chart(sums: Checksums) -> Lines:
    """For each rank, how many others hold other weights at each step at which the weights were summed."""
    first = int(sums.steps[numpy.argmax(sums.differ)])
    others = _against(sums)
    groups: dict[bytes, list[int]] = {}
    for index in range(len(sums.ranks)):
        groups.setdefault(others[:, index].tobytes(), []).append(index)
    if len(groups) > _MOST_LINES:
        series = [plain("the rank that stands most alone", sums.steps, numpy.nanmax(others, axis=1), role="flagged")]
    else:
        ordered = sorted(groups.values(), key=lambda members: -float(numpy.nansum(others[:, members[0]])))
        series = [
            plain(_called(sums, members), sums.steps, others[:, members[0]], role=_role(others[:, members[0]], sums))
            for members in ordered
        ]
        if len(series) == 2 and series[0].role == "flagged":
            series[1] = msgspec.structs.replace(series[1], name=f"other {count(len(ordered[1]))}")
    return Lines(
        title="Ranks with other weights",
        caption=f"For each rank, how many of the {count(len(sums.ranks))} hold other weights than its own, at every "
        "step at which they were summed; between two of these nothing is known. While the copies are alike, all lines "
        "lie at 0. A rank that drifts away alone has all others against it.",
        x_label="step",
        y_label="ranks with other weights",
        series=series,
        marks=[Mark(label=f"first seen to differ · step {count(first)}", x=first)],
    )


def _against(sums: Checksums) -> Floats:
    """[steps, ranks]: how many ranks hold other weights than this one; NaN where it took no sum."""
    found = numpy.full(sums.sums.shape, numpy.nan)
    for step, row in enumerate(sums.sums):
        taken = row != 0
        _, place, amounts = numpy.unique(row[taken], return_inverse=True, return_counts=True)
        found[step, taken] = taken.sum() - amounts[place.reshape(-1)]
    return found


def _called(sums: Checksums, members: list[int]) -> str:
    if len(members) == len(sums.ranks):
        return "both ranks" if len(members) == 2 else f"all {count(len(members))} ranks"
    listed = names([str(int(sums.ranks[index])) for index in members], 4)
    return f"{'rank' if len(members) == 1 else 'ranks'} {listed}"


def _role(others: Floats, sums: Checksums) -> str:
    """A rank with more than half of all against it is flagged, where some others are at one."""
    known = others[numpy.isfinite(others)]
    return "flagged" if len(sums.ranks) > 2 and len(known) and known[-1] > len(sums.ranks) / 2 else "main"


def spread_chart(beside: SideBySide, quantity: str, limit: float) -> Lines:
    """How far the ranks are apart at each step, relative to the largest, against the limit."""
    apart = spread(beside.values)
    return Lines(
        title=f"The ranks' {quantity}s apart",
        caption=f"The difference between the greatest and the least {quantity} of the {count(len(beside.ranks))} ranks "
        "at a step, over the greatest. Rounding alone leaves about 1e-6.",
        x_label="step",
        y_label="difference / largest",
        series=[banded("difference", beside.steps, apart, log=True)],
        marks=[Mark(label="judged apart above this", y=limit)],
        log=True,
    )


def drift_chart(beside: SideBySide, quantity: str, flagged: list[int], marks: list[Mark]) -> Lines | None:
    """Each rank's value less the mean of the others, smoothed: who leaves the zero line, and from which step.

    `flagged` are indices into the ranks. Of many ranks those, or the farthest one, are drawn by name and the rest as
    a band. None without values.
    """
    if not len(beside.steps):
        return None
    away = against_others(beside.values)
    lines = numpy.stack([smooth(column) for column in away.T], axis=1)
    zero = Mark(label="as the others", y=0, role="reference")
    chart = Lines(
        title=f"{quantity.capitalize()} of each rank against the others",
        caption=f"A rank's {quantity} less the mean of the other ranks' at the same step, smoothed. Ranks that train "
        "one model on like data scatter about zero; one that drifts leaves it and does not come back.",
        x_label="step",
        y_label=f"{quantity} less the others'",
        series=[],
        marks=[zero, *marks],
    )

    def one(index: int, role: str, name: str = "") -> Series:
        return plain(name or f"rank {int(beside.ranks[index])}", beside.steps, lines[:, index], role=role)

    if len(beside.ranks) == 2:
        # The two lines would be each other's mirror image.
        chosen = flagged[0] if len(flagged) == 1 else 1
        rank, other = (f"rank {int(beside.ranks[index])}" for index in (chosen, 1 - chosen))
        return msgspec.structs.replace(
            chart,
            title=f"{quantity.capitalize()} of {rank} against {other}",
            caption=f"The {quantity} of {rank} less that of {other} at the same step, smoothed. Ranks that train one "
            "model on like data scatter about zero; ranks that drift apart leave it and do not come back.",
            y_label=f"{quantity} of {rank} less {other}'s",
            series=[one(chosen, "flagged" if flagged else "main", rank)],
        )
    if len(beside.ranks) <= _MOST_LINES:
        order = sorted(range(len(beside.ranks)), key=lambda index: index not in flagged)
        series = [one(index, "flagged" if index in flagged else "main") for index in order]
        return msgspec.structs.replace(chart, series=series)
    named = flagged[: _MOST_LINES - 1] or [_farthest(lines)]
    rest = [index for index in range(len(beside.ranks)) if index not in named]
    series = [*[one(index, "flagged") for index in named], _band(beside, lines[:, rest], f"other {count(len(rest))}")]
    return msgspec.structs.replace(chart, series=series)


def _farthest(lines: Floats) -> int:
    late = lines[len(lines) // 2 :]
    return int(numpy.argmax(numpy.abs(numpy.where(numpy.isfinite(late), late, 0.0)).mean(axis=0)))


def _band(beside: SideBySide, lines: Floats, name: str) -> Series:
    """The least, the median and the greatest of several ranks."""
    at = numpy.unique(numpy.linspace(0, len(lines) - 1, min(WIDEST, len(lines))).astype(int))
    parts = [medians_across(lines[at]), numpy.fmin.reduce(lines[at], axis=1), numpy.fmax.reduce(lines[at], axis=1)]
    middle, low, high = ([short(float(value)) for value in part] for part in parts)
    return Series(name=name, x=[float(v) for v in beside.steps[at]], y=middle, low=low, high=high, role="reference")
