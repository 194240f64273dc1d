"""The name and the last value of each line: at the right edge, or at the end of a line that ends before it."""

from dataclasses import dataclass

from gradaudit.findings import Lines
from gradaudit.report.marks import Part, apart, drawable, signed, text, wide
from gradaudit.report.plane import Plane
from gradaudit.report.text import name, quantity

EARLY = 24  # px before the right edge
GAP = 13  # px between two labels
BESIDE = 6  # px from the end of a line to its label


@dataclass(frozen=True)
class End:
    """Where a line ends, px from the left and the top of the plot, and what is written there."""

    across: float
    down: float
    both: str  # name and value
    value: str
    colour: str


def labels(evidence: Lines, colours: list[str], plane: Plane) -> list[Part]:
    """The labels of all lines, kept apart."""
    found = _ends(evidence, colours, plane)
    late = [end for end in found if end.across >= plane.frame.width - EARLY]
    parts: list[Part] = []
    # First those that keep their place, for the others must keep away from them.
    column, left_over = _column(late, plane), []
    for end in found:
        if end not in late:
            label = _beside(end, plane)
            parts += label
            left_over += [] if label else [end]
    return [*parts, *(_column([*late, *left_over], plane) if left_over else column)]


def _ends(evidence: Lines, colours: list[str], plane: Plane) -> list[End]:
    found = []
    several = sum(any(y is not None for y in series.y) for series in evidence.series) > 1
    for series, colour in zip(evidence.series, colours, strict=True):
        known = [(x, y) for x, y in zip(series.x, series.y, strict=True) if y is not None]
        if not known:
            continue
        x, last = known[-1]
        value = signed(f"{last:,.0f}" if plane.whole else quantity(last))
        # What has no place on a log axis is a stroke at its lower edge.
        down = plane.down(last) if drawable(last, plane.log) else plane.frame.height - 2.0
        found.append(End(plane.across(x), down, f"{name(series.name)} {value}" if several else value, value, colour))
    return found


def _column(ends: list[End], plane: Plane) -> list[Part]:
    """Labels right of the plot, one below the other; none where there are too many."""
    if len(ends) * GAP > plane.frame.height + 2 * GAP:
        return []
    places = apart([end.down for end in ends], GAP, 4, plane.frame.height - 2)
    parts: list[Part] = []
    for end, place in zip(ends, places, strict=True):
        words = end.both if wide(end.both, bold=True) <= plane.frame.right - BESIDE - 2 else end.value
        left = plane.frame.width + BESIDE
        plane.take(left, place, wide(words, bold=True))
        parts.append(text(words, left, place, end.colour, align="left", bold=True))
    return parts


def _beside(end: End, plane: Plane) -> list[Part]:
    """A label at the end of its line, where it covers nothing; none where there is no such place."""
    for words in dict.fromkeys((end.both, end.value)):
        size = wide(words, bold=True)
        right = plane.frame.width + plane.frame.right - 4 - size
        lefts = [(end.across + BESIDE, 0.0), *((end.across + BESIDE, shift) for shift in (-9.0, 9.0, -16.0, 16.0))]
        lefts += [(end.across - size, shift) for shift in (-12.0, 12.0)]
        for left, shift in lefts:
            middle = end.down + shift
            inside = 0 <= left <= right and 4 <= middle <= plane.frame.height - 4
            if inside and not plane.covered(left, left + size, middle):
                plane.take(left, middle, size)
                return [text(words, left, middle, end.colour, align="left", bold=True)]
    return []
