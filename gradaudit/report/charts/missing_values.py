"""What has no place in the plot of `Lines`, and must be seen all the same: zeros on a log axis, NaN and infinities."""

from gradaudit.chart_data import Lines, Series
from gradaudit.report.charts.plot_area import PlotArea
from gradaudit.report.charts.primitives import Part, drawable, patches, text_width
from gradaudit.report.charts.theme import CRITICAL
from gradaudit.report.text import name

HEIGHT = 4  # px of a stroke at the edge of the plot
LEAST = 3  # px of its length
MOST_ROWS = 4  # strokes of several lines above each other
ALL_ZERO = "Every value is exactly 0."

Box = tuple[float, float, float, float]


def placeholder(evidence: Lines) -> str:
    """What is said in the chart's place when no value has a place in it; empty when one has."""
    bands = [value for series in evidence.series for part in (series.y, series.low, series.high) for value in part]
    if any(drawable(value, evidence.log) for value in bands):
        return ""
    bad = any(series.bad for series in evidence.series)
    known = [value for value in bands if value is not None]
    if not known:
        return "Every value is NaN or infinite." if bad else "There is no value to draw."
    if not bad and not any(known):
        return ALL_ZERO
    zero = "exactly 0" if not any(known) else "0 or below, and has no place on a logarithmic axis"
    return f"Every {'other ' if bad else ''}value is {zero}{'; some are NaN or infinite' if bad else ''}."


def strokes(evidence: Lines, colours: list[str], plot: PlotArea) -> list[Part]:
    """A stroke along the lower edge wherever a line is zero, along the upper one wherever it is NaN or infinite."""
    return [*_zeros(evidence, colours, plot), *_bad(evidence, plot)]


def _zeros(evidence: Lines, colours: list[str], plot: PlotArea) -> list[Part]:
    if not evidence.log:
        return []
    found: list[Part] = []
    base = plot.frame.height
    with_zeros = [(series, colour) for series, colour in zip(evidence.series, colours, strict=True) if _has(series)]
    for row, (series, colour) in enumerate(with_zeros):
        top = base - HEIGHT * (min(row, MOST_ROWS - 1) + 1)
        whole = _boxes(series, [y is not None and y <= 0 for y in series.y], top, plot)
        part = _boxes(series, _reaching(series), top, plot)
        found += [patches(part, colour, opacity=0.5)] if part else []
        found += [patches(whole, colour)] if whole else []
        values = [value for values in (series.y, series.low) for value in values if value is not None and value <= 0]
        words = "0 or below" if any(values) else "exactly 0" if whole else "some are exactly 0"
        box = [*whole, *part][0]
        words += _briefly(series, box, text_width(words, bold=True), evidence.x_label, plot)
        if len(evidence.series) > 1:
            named = f"{name(series.name, 30)}: {words}"
            words = named if text_width(named, bold=True) < plot.frame.width else words
        if not whole and len(with_zeros) > 1:
            continue  # those at zero have the words
        found += _label(words, box, base - HEIGHT * min(len(with_zeros), MOST_ROWS) - 8, colour, plot)
    return found


def _briefly(series: Series, box: Box, size: float, label: str, plot: PlotArea) -> str:
    """Where a stroke shorter than its words is, which would else seem to hold all along them."""
    if box[2] >= size:
        return ""
    first = min(series.x, key=lambda x: abs(plot.across(x) - box[0]))
    last = max((x for x in series.x if plot.across(x) <= box[0] + box[2] - LEAST + 0.5), default=first)
    if series.high:
        return f" near {label} {first:,.6g}"  # a slice of steps, of which one may be zero
    return f" at {label} {first:,.6g}" if last <= first else f" from {label} {first:,.6g} to {last:,.6g}"


def _has(series: Series) -> bool:
    return any(y is not None and y <= 0 for y in series.y) or any(_reaching(series))


def _reaching(series: Series) -> list[bool]:
    """Where a line that is drawn has zeros in its band only."""
    lows = series.low or [None] * len(series.y)
    pairs = zip(series.y, lows, strict=True)
    return [y is not None and y > 0 and low is not None and low <= 0 for y, low in pairs]


def _bad(evidence: Lines, plot: PlotArea) -> list[Part]:
    spans = sorted({span for series in evidence.series for span in series.bad})
    if not spans:
        return []
    boxes: list[Box] = []
    for first, last in spans:
        left, right = plot.across(first), plot.across(last)
        right = max(left + LEAST, right)
        # Stretches that touch are one: there are never more boxes than fit beside each other.
        if boxes and left <= boxes[-1][0] + boxes[-1][2]:
            start = boxes.pop()
            left, right = start[0], max(right, start[0] + start[2])
        boxes.append((left, 0.0, right - left, float(HEIGHT)))
    label = [] if any("NaN" in mark.label for mark in evidence.marks) else [boxes[0]]
    return [
        patches(boxes, CRITICAL),
        *(part for box in label for part in _label("NaN or Inf", box, 13, CRITICAL, plot)),
    ]


def _boxes(series: Series, chosen: list[bool], top: float, plot: PlotArea) -> list[Box]:
    """One box for each stretch of chosen points; a slice of steps reaches up to the next one."""
    banded = bool(series.high)
    found: list[Box] = []
    for i, x in enumerate(series.x):
        if not chosen[i]:
            continue
        left = plot.across(x)
        following = plot.across(series.x[i + 1]) if i + 1 < len(series.x) else left
        joined = i > 0 and chosen[i - 1]
        right = following if banded or (i + 1 < len(series.x) and chosen[i + 1]) else left
        size = max(LEAST, right - left)
        if joined:
            start = found[-1][0]
            found[-1] = (start, top, max(found[-1][2], left + size - start), HEIGHT)
        else:
            found.append((left, top, size, HEIGHT))
    return found


def _label(words: str, box: Box, middle: float, colour: str, plot: PlotArea) -> list[Part]:
    """Words above or below a stroke, along it where there is room, else beside it."""
    size = text_width(words, bold=True)
    most = plot.frame.width - size
    lefts = [min(left, most) for left in (box[0], box[0] + box[2] - size, box[0] + 12)]
    upper = middle < plot.frame.height / 2
    middles = (middle, middle + 14, middle - 14) if upper else (middle, middle - 14, middle - 28)
    downs = [down for down in middles if 0 < down < plot.frame.height - HEIGHT]
    spots = [(max(0.0, left), down) for down in downs for left in lefts]
    edge = HEIGHT + 9 if upper else plot.frame.height - HEIGHT - 9
    spots += [(left, edge) for left in (box[0] + box[2] + 5, box[0] - 5 - size) if 0 <= left <= most]
    return plot.write(words, spots or [(max(0.0, lefts[0]), middle)], colour, bold=True)
