"""Small pieces that several charts are made of: inline data, scales, axes and free-standing text."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import altair
from altair.utils.schemapi import debug_mode

from gradaudit.report.charts.theme import BOLD, CHARACTER, MUTED, PAPER, Frame
from gradaudit.report.text import name

_BROAD, _EXTRA = "mwMW@%—", 0.55  # letters broader than the mean, and by how many characters
WIDE_RANGE = 300  # greatest value over least from which on a linear axis would flatten the rest
Layer = altair.Chart | altair.LayerChart
Domain = tuple[float, float]


@contextmanager
def unchecked() -> Iterator[None]:
    """Within it, Altair builds charts without checking each part: that is a quarter of a page's time.

    It is for pages. Charts that are drawn alone, as in tests, are checked.
    """
    with debug_mode(False):
        yield


def chart(rows: Iterable[Mapping[str, Any]]) -> altair.Chart:
    """A chart over inline rows in long form: names are only ever values, never fields."""
    return altair.Chart(altair.InlineData(values=[dict(row) for row in rows]))


def x_axis(field: str, domain: Domain, frame: Frame, title: str, *, whole: bool = True) -> altair.X:
    """A linear x axis over exactly `domain`; a `whole` one, as of steps, has no ticks between whole numbers."""
    ticks: dict[str, Any] = {"tickCount": frame.ticks}
    if whole and domain[1] - domain[0] < frame.ticks:
        ticks = {"values": list(range(math.ceil(domain[0]), math.floor(domain[1]) + 1))}
    format = ",d" if "values" in ticks else number_format(*domain)
    axis = axis_of(format, title=truncate(title, frame.width), **ticks)
    return altair.X(f"{field}:Q", scale=altair.Scale(domain=list(domain), nice=False, zero=False), axis=axis)


def pixels(field: str, size: int) -> altair.Y:
    """A hidden y axis that runs over `size` px from the top down."""
    return altair.Y(f"{field}:Q", scale=altair.Scale(domain=[size, 0], nice=False), axis=None)


@dataclass(frozen=True)
class Label:
    """Words at a place of the plot in px."""

    words: str
    x: float
    y: float
    colour: str = MUTED
    align: str = "center"  # left | center | right
    baseline: str = "middle"  # top | middle | bottom
    bold: bool = False
    size: int = 11  # px
    halo: bool = False  # in the colour of the page, for words that cross lines


Part = Layer | Label
_MINUS = re.compile(r"(?<![\w.-])-(?=\.?\d)|(?<=\de)-(?=\d)")


def signed(words: str) -> str:
    """`words` with a minus sign for each hyphen that stands for one, as the axes have it: −0.5, 1e−4."""
    return _MINUS.sub("−", words)


def _texts(labels: Sequence[Label]) -> list[Layer]:
    """One layer for each style: a layer for each label would take the engine ten times as long."""
    found: list[Layer] = []
    haloed = [label for label in labels if label.halo]
    if haloed:
        labels = [
            *(replace(label, colour=PAPER) for label in haloed),
            *(replace(label, halo=False) for label in labels),
        ]
    styles = dict.fromkeys((label.align, label.baseline, label.bold, label.size, label.halo) for label in labels)
    for align, baseline, bold, size, halo in styles:
        rows = [
            {"s": label.words, "x": label.x, "y": label.y, "c": label.colour}
            for label in labels
            if (label.align, label.baseline, label.bold, label.size, label.halo) == (align, baseline, bold, size, halo)
        ]
        style: dict[str, Any] = {"align": align, "baseline": baseline, "fontSize": size}
        style |= {"stroke": PAPER, "strokeWidth": 4} if halo else {}
        mark = chart(rows).mark_text(**style, fontWeight=600 if bold else 400)
        found.append(
            mark.encode(
                text="s:N",
                x=altair.X("x:Q", scale=None, axis=None),
                y=altair.Y("y:Q", scale=None, axis=None),
                color=altair.Color("c:N", scale=None, legend=None),
            )
        )
    return found


def patches(boxes: Sequence[tuple[float, float, float, float]], colour: str, *, opacity: float = 1.0) -> altair.Chart:
    """Rectangles (left, top, width, height) in px of the plot."""
    rows = [{"x": left, "x2": left + width, "y": top, "y2": top + height} for left, top, width, height in boxes]
    x, y = altair.X("x:Q", scale=None, axis=None), altair.Y("y:Q", scale=None, axis=None)
    patch: altair.Chart = chart(rows).mark_rect(color=colour, opacity=opacity).encode(x=x, y=y, x2="x2", y2="y2")
    return patch


def truncate(label: str, width: float, *, bold: bool = False) -> str:
    """`label`, its middle cut out so that it takes at most about `width` px."""
    most = max(4, int(width / CHARACTER / (BOLD if bold else 1)))
    while most > 4 and text_width(name(label, most), bold=bold) > width:
        most -= 1
    return name(label, most)


def abbreviate(label: str, width: float) -> str:
    """The name of a tensor or module in at most about `width` px: the end of its path, and the number of its layer.

    Of `layers.12.mlp.expand` stays `…12.mlp.expand` or `…12…expand`: what all names begin with tells none apart.
    """
    if text_width(label) <= width:
        return label
    parts = label.split(".")
    indices = [i for i, part in enumerate(parts[:-1]) if part.isdigit()]
    for first in range(1, indices[0] + 1 if indices else 0):
        shown = "…" + ".".join(parts[first:])
        if text_width(shown) <= width:
            return shown
    if indices:
        head = f"…{parts[indices[0]]}…"
        for first in range(indices[0] + 1, len(parts)):
            shown = head + ".".join(parts[first:])
            if text_width(shown) <= width:
                return shown
        room = int((width - text_width(head)) / CHARACTER)
        if room >= 3:
            return head + parts[-1][-room:]
    return truncate(label, width)


def abbreviate_all(labels: Sequence[str], width: float) -> list[str]:
    """`abbreviate` of each; where one loses the beginning of its path, those with the same beginning lose it, too."""
    cut = {label.partition(".")[0] for label in labels if text_width(label) > width}

    def numbered(label: str) -> bool:
        return any(part.isdigit() for part in label.split(".")[1:-1])

    return [
        abbreviate(
            label, min(width, text_width(label) - 1) if numbered(label) and label.partition(".")[0] in cut else width
        )
        for label in labels
    ]


def text_width(label: str, *, bold: bool = False) -> float:
    """About how many px `label` takes."""
    characters = len(label) + _EXTRA * sum(map(label.count, _BROAD))
    return characters * CHARACTER * (BOLD if bold else 1)


def decades(low: float, high: float, most: int = 7) -> list[float]:
    """Powers of ten from `low` to `high`, every second or third of them when there are many."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    stride = max(1, math.ceil((last - first + 1) / most))
    return [10.0**power for power in range(first, last + 1, stride)]


def around(low: float, high: float) -> Domain:
    """The powers of ten that enclose two positive values."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    return (10.0 ** (first - 1), 10.0 ** (last + 1)) if first == last else (10.0**first, 10.0**last)


def spans_decades(values: Iterable[float | None]) -> bool:
    """Whether positive values differ so much that a linear axis would flatten all but the greatest."""
    known = [value for value in values if value is not None]
    return bool(known) and min(known) > 0 and max(known) > WIDE_RANGE * min(known)


def number_format(low: float, high: float) -> Any:
    """The engine's own plain numbers on a linear axis; k and M where those get long, powers of ten beyond."""
    largest = max(abs(low), abs(high))
    return "~e" if largest >= 1e9 or largest < 1e-2 else "~s" if largest >= 100_000 else altair.Undefined


def drawable(value: float | None, log: bool) -> bool:
    """Whether a value has a place on the axis."""
    return value is not None and math.isfinite(value) and (value > 0 or not log)


def axis_of(format: Any, **more: Any) -> altair.Axis:
    """An axis with powers as 1e4 and 1e−4, and not "0e+0" for 0. The expression holds no text of a run."""
    if format == "~e":
        power = "replace(replace(datum.label, 'e+', 'e'), 'e-', 'e−')"
        more["labelExpr"] = f"datum.value == 0 || datum.value == 1 ? '' + datum.value : {power}"
    return altair.Axis(format=format, **more)


def power_format(low: float, high: float) -> str:
    """Plain numbers for a log axis near one, powers of ten elsewhere."""
    return ",~g" if low >= 1e-3 and high <= 1e4 else "~e"


def layered(parts: Sequence[Part]) -> altair.LayerChart:
    """The parts as one chart, words on top."""
    layers = [part for part in parts if not isinstance(part, Label)]
    return altair.LayerChart(layer=[*layers, *_texts([part for part in parts if isinstance(part, Label)])])
