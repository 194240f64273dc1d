"""The cells of a `Heatmap` as a picture of one pixel each, and what the colours of its palette mean."""

import base64
import math
import struct
import zlib

import numpy

from gradaudit.chart_data import Heatmap
from gradaudit.report.charts.primitives import Domain, signed
from gradaudit.report.charts.theme import GRID
from gradaudit.report.model import ColourScale
from gradaudit.report.text import name

# Anchors of viridis (matplotlib, CC0). White is the colour farthest from all of them in every colour
# vision deficiency, so "exactly zero" is white; red tells "not finite".
VIRIDIS = (
    (68, 1, 84), (72, 36, 117), (65, 68, 135), (53, 95, 141), (42, 120, 142), (33, 145, 140),
    (34, 168, 132), (68, 191, 112), (122, 209, 81), (189, 223, 38), (253, 231, 37),
)  # fmt: skip
SHADES = 240
ABSENT, ZERO, BAD, FIRST_SHADE = 0, 1, 2, 3  # palette indices
ZERO_COLOUR, BAD_COLOUR, EMPTY_COLOUR = "#ffffff", "#d62728", GRID
ZERO_WORDS, BAD_WORDS = "exactly zero, or no gradient", "NaN or Inf"


def palette() -> list[tuple[int, int, int]]:
    """Colours by palette index."""
    anchors = numpy.asarray(VIRIDIS, dtype=float)
    place = numpy.linspace(0, len(anchors) - 1, SHADES)
    shades = numpy.stack([numpy.interp(place, range(len(anchors)), channel) for channel in anchors.T], axis=1)
    colours = [(int(r), int(g), int(b)) for r, g, b in shades.round()]
    return [(255, 255, 255), (255, 255, 255), (214, 39, 40), *colours]


def scale_of(heatmaps: list[Heatmap]) -> Domain:
    """The log10 range of the colours: whole decades around all but the outermost half per cent."""
    values = [v for heatmap in heatmaps for row in heatmap.values for v in row if v is not None and math.isfinite(v)]
    if not values:
        return (-1.0, 0.0)
    low, high = numpy.percentile(values, [0.5, 99.5])
    first = math.floor(low)
    return (float(first), float(max(math.ceil(high), first + 1)))


def png(heatmap: Heatmap, scale: Domain) -> str:
    """The cells as the data URI of an 8-bit palette PNG; the script of the page reads its palette indices."""
    rows, columns = len(heatmap.rows), max(map(len, heatmap.values), default=0)
    cells = numpy.full((rows, columns), numpy.nan)
    for i, values in enumerate(heatmap.values):
        cells[i, : len(values)] = [numpy.nan if v is None else v for v in values]
    low, high = scale
    shade = numpy.clip(numpy.nan_to_num((cells - low) / (high - low)), 0, 1) * (SHADES - 1)
    index = numpy.where(numpy.isfinite(cells), shade.round() + FIRST_SHADE, ABSENT).astype(numpy.uint8)
    for mark, marked in ((ZERO, heatmap.zero), (BAD, heatmap.bad)):
        for i, places in enumerate(marked[:rows]):
            index[i, [place for place in places if 0 <= place < columns]] = mark

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    lines = b"".join(b"\0" + line.tobytes() for line in index)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0))
    data += chunk(b"PLTE", bytes(value for colour in palette() for value in colour)) + chunk(b"tRNS", b"\0")
    data += chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


def colour_scale(heatmaps: list[Heatmap]) -> ColourScale:
    """The one scale of several heatmaps, and the colours beside it that occur in them."""
    low, high = scale_of(heatmaps)
    last = len(VIRIDIS) - 1
    stops = tuple((f"{i / last:.1f}", f"rgb({r},{g},{b})") for i, (r, g, b) in enumerate(VIRIDIS))
    least, most = signed(f"1e{low:.0f}"), signed(f"1e{high:.0f}")
    return ColourScale(least, most, name(heatmaps[0].unit), stops, _special(heatmaps))


def _special(heatmaps: list[Heatmap]) -> tuple[tuple[str, str], ...]:
    """The colours of cells without a place on the scale, as far as there are such cells, and what they mean."""
    found = []
    if any(any(heatmap.zero) for heatmap in heatmaps):
        found.append((ZERO_COLOUR, ZERO_WORDS))
    if any(any(heatmap.bad) for heatmap in heatmaps):
        found.append((BAD_COLOUR, BAD_WORDS))
    empty = dict.fromkeys(heatmap.empty for heatmap in heatmaps if _has_empty(heatmap))
    return (*found, *((EMPTY_COLOUR, name(words)) for words in empty))


def _has_empty(heatmap: Heatmap) -> bool:
    columns = max(map(len, heatmap.values), default=0)
    for row, values in enumerate(heatmap.values):
        told = {*(heatmap.zero[row] if row < len(heatmap.zero) else ())}
        told |= {*(heatmap.bad[row] if row < len(heatmap.bad) else ())}
        if len(values) < columns or any(value is None and i not in told for i, value in enumerate(values)):
            return True
    return False
