"""The name and the last value of each line: at the right edge, or at the end of a line that ends before it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from gradaudit.chart_data import Lines
from gradaudit.report.charts.plot_area import PlotArea
from gradaudit.report.charts.primitives import Label, Part, drawable, signed, text_width, truncate
from gradaudit.report.text import name, quantity

EARLY = 24  # px before the right edge
GAP = 13  # px between two labels
LEGIBLE = 12  # characters of a name that is cut
BESIDE = 6  # px from the end of a line to its label


@dataclass(frozen=True)
class End:
    """Where a line ends, px from the left and the top of the plot, and what is written there."""

    across: float
    down: float
    both: str  # name and value
    value: str
    colour: str
    name: str = ""
    broken: bool = False  # NaN and infinities follow


@dataclass(frozen=True)
class Block:
    """One or two lines of words right of the plot."""

    middle: float  # px from the top of the plot, where they would best stand
    lines: tuple[str, ...]
    colour: str
    bold: bool


def labels(evidence: Lines, colours: list[str], plot: PlotArea) -> list[Part]:
    """The labels of all lines, kept apart."""
    found = _ends(evidence, colours, plot)
    late = [end for end in found if end.across >= plot.frame.width - EARLY]
    parts: list[Part] = []
    # First those that keep their place, for the others must keep away from them.
    column, left_over = _column(late, plot), []
    for end in found:
        if end not in late:
            label = _beside(end, plot)
            parts += label
            # A line that ends in NaN has no last value to stand at the edge of the plot.
            left_over += [] if label or end.broken else [end]
    return [*parts, *(_column([*late, *left_over], plot) if left_over else column)]


def _ends(evidence: Lines, colours: list[str], plot: PlotArea) -> list[End]:
    found = []
    several = sum(any(y is not None for y in series.y) for series in evidence.series) > 1
    for series, colour in zip(evidence.series, colours, strict=True):
        known = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y is not None]
        if not known:
            continue
        x, last = known[-1]
        value = signed(f"{last:,.0f}" if plot.whole else quantity(last))
        # What has no place on a log axis is a stroke at its lower edge.
        down = plot.down(last) if drawable(last, plot.log) else plot.frame.height - 2.0
        own = name(series.name) if several else ""
        broken = any(until > x for _, until in series.bad)
        found.append(End(plot.across(x), down, f"{own} {value}".strip(), value, colour, own, broken))
    return found


def _column(ends: list[End], plot: PlotArea) -> list[Part]:
    """Labels right of the plot, one below the other, with what else stands there; none where there are too many."""
    room, most = plot.frame.right - BESIDE - 2, plot.frame.height + 2 * GAP
    short = _short([end.name for end in ends], room)
    named = [Block(end.down, _fitting(end, own, room), end.colour, True) for end, own in zip(ends, short, strict=True)]
    plain = [replace(block, lines=block.lines[-1:]) for block in named]
    others = [Block(down, (words,), colour, False) for down, words, colour in plot.margin]
    choices = ([*named, *others], [*plain, *others], others)
    blocks = next(some for some in choices if GAP * sum(len(block.lines) for block in some) <= most or some is others)
    parts: list[Part] = []
    for block, top in _stacked(blocks, plot.frame.height):
        for row, words in enumerate(block.lines):
            middle = top + GAP * (row + 0.5)
            plot.take(plot.frame.width + BESIDE, middle, text_width(words, bold=block.bold))
            parts.append(Label(words, plot.frame.width + BESIDE, middle, block.colour, align="left", bold=block.bold))
    return parts


def _fitting(end: End, short: str, room: float) -> tuple[str, ...]:
    """Name and value on one line or on two; the value alone where no short name tells the lines apart."""
    for own in (end.name, short) if short else ():
        if text_width(both := f"{own} {end.value}".strip(), bold=True) <= room:
            return (both,)
    return (short, end.value) if short else (end.value,)


def _short(names: list[str], room: float) -> list[str]:
    """Each name as it fits into `room` px and still tells the lines apart; empty where it does not."""
    ways: list[Callable[[str], str]] = [
        lambda name: name,
        lambda name: name.removesuffix(".weight"),
        lambda name: name.partition(" (")[0],
        lambda name: name.rpartition(", ")[2],
        lambda name: name.partition(", ")[0],
        lambda name: name.removesuffix(".weight").rpartition(".")[2],
        lambda name: truncate(name, room, bold=True),
    ]
    found = []
    for index, own in enumerate(names):
        others = [other for place, other in enumerate(names) if place != index]
        fits = (
            way(own)
            for way in ways
            if text_width(way(own), bold=True) <= room
            and way(own) not in map(way, others)
            and ("…" not in way(own) or len(way(own)) >= LEGIBLE)
        )
        found.append(next(fits, ""))
    # A name beside numbers that have none would seem to be that of all.
    return found if all(short for short, own in zip(found, names, strict=True) if own) else [""] * len(names)


def _stacked(blocks: list[Block], height: int) -> list[tuple[Block, float]]:
    """Each block with its top in px, as near to where its line ends as the others let it be."""
    order = sorted(blocks, key=lambda block: block.middle)
    tops, free = [], 4 - GAP / 2
    for block in order:
        tops.append(max(free, block.middle - GAP * len(block.lines) / 2))
        free = tops[-1] + GAP * len(block.lines)
    limit = height - 2 + GAP / 2
    for i in range(len(order) - 1, -1, -1):
        limit = tops[i] = min(tops[i], limit - GAP * len(order[i].lines))
    return list(zip(order, tops, strict=True))


def _beside(end: End, plot: PlotArea) -> list[Part]:
    """A label at the end of its line, where it covers nothing; none where there is no such place."""
    for words in dict.fromkeys((end.both, end.value)):
        size = text_width(words, bold=True)
        right = plot.frame.width + plot.frame.right - 4 - size
        lefts = [(end.across + BESIDE, 0.0), *((end.across + BESIDE, shift) for shift in (-9.0, 9.0, -16.0, 16.0))]
        lefts += [(end.across - size, shift) for shift in (-12.0, 12.0, -20.0, 20.0)]
        lefts += [(end.across - BESIDE - size, shift) for shift in (0.0, -9.0, 9.0)]
        for left, shift in lefts:
            middle = end.down + shift
            inside = 0 <= left <= right and plot.ceiling <= middle <= plot.frame.height - 4
            if inside and not plot.covered(left, left + size, middle):
                plot.take(left, middle, size)
                return [Label(words, left, middle, end.colour, align="left", bold=True)]
    return []
