"""Charts of what the ranks of one training have apart: which of them drifts, and from which step."""

import msgspec
import numpy

from gradaudit.chart_data import AnyEvidence, Lines, Mark, Numbers, Series
from gradaudit.evidence.charts.reduce import WIDEST, banded, plain, short
from gradaudit.evidence.words.wording import count, names
from gradaudit.signals.order_statistics import Floats, medians_across
from gradaudit.signals.ranks.replicas import Checksums, SideBySide, against_others, spread
from gradaudit.signals.ranks.skew import Skew
from gradaudit.signals.ranks.weights_apart import WeightsApart
from gradaudit.signals.smoothing import smooth, wide

_MOST_LINES = 4


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


def rank_lines(beside: SideBySide, quantity: str, caption: str, flagged: int = -1) -> Lines:
    """The values of a few ranks, those of the `flagged` one first, an index into the ranks."""
    order = sorted(range(len(beside.ranks)), key=lambda index: index != flagged)
    return Lines(
        title=f"{quantity.capitalize()} by rank",
        caption=caption,
        x_label="step",
        y_label=quantity.removeprefix("training "),
        series=[
            plain(
                f"rank {int(beside.ranks[index])}",
                beside.steps,
                beside.values[:, index],
                role="flagged" if index == flagged else "main",
            )
            for index in order[:_MOST_LINES]
        ],
        log=wide(beside.values),
    )


def checksum_table(sums: Checksums) -> Numbers:
    """The checksums of a few ranks around the first step at which they differ."""
    near = max(0, int(numpy.argmax(sums.differ)) - 2)
    rows = range(near, min(len(sums.steps), near + 8))
    shown = sums.ranks[:6]
    return Numbers(
        title="Checksums of the weights",
        caption="The sum of the bit patterns of all weights before the step, by rank; equal weights have equal sums.",
        columns=["step", *(f"rank {int(rank)}" for rank in shown)],
        cells=[
            [count(sums.steps[row]), *(f"{int(value) & (1 << 64) - 1:016x}" for value in sums.sums[row, : len(shown)])]
            for row in rows
        ],
    )


def weights_apart_charts(apart: WeightsApart, losses: SideBySide) -> list[AnyEvidence]:
    """Which ranks hold other weights, and who drifts since; of two ranks the losses alone can tell who."""
    mark = Mark(label=f"step {count(apart.step)} · weights differ", x=apart.step)
    drift = _drift(losses, apart.minority, mark)
    if len(apart.sums.ranks) == 2 and drift:
        return [*drift, checksum_table(apart.sums)]
    return [agreement_chart(apart.sums), *(drift or [checksum_table(apart.sums)])]


def skew_charts(found: Skew) -> list[AnyEvidence]:
    """One rank's loss against the others', and each rank's loss."""
    judged = Mark(label=f"step {count(found.first)} · judged from here", x=found.first, role="reference")
    caption = "Each rank's loss on its own part of every batch."
    return [
        *_drift(found.losses, [found.index], judged),
        rank_lines(found.losses, "training loss", caption, found.index),
    ]


def _drift(losses: SideBySide, flagged: list[int], mark: Mark) -> list[AnyEvidence]:
    """Each rank's loss against the others', where any were recorded."""
    chart = drift_chart(losses, "loss", flagged, [mark])
    return [chart] if chart is not None else []
