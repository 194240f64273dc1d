"""Charts: valid specifications, every kind drawn, odd data survived, nothing from a run able to break them."""

import base64
import json
import re
import struct
import zlib
from itertools import pairwise
from typing import get_args
from xml.etree import ElementTree

import msgspec
import numpy
import pytest

from gradaudit.audit.result import Audit
from gradaudit.chart_data import (
    AnyEvidence,
    Bin,
    Distribution,
    Dot,
    Dots,
    Heatmap,
    Lines,
    Mark,
    Numbers,
    Ridge,
    Ridges,
    Series,
)
from gradaudit.report.charts import dots, figures, heatmap, lines
from gradaudit.report.charts import heatmap_cells as cells
from gradaudit.report.charts.figures import Budget, chart_of, figure, render
from gradaudit.report.charts.heatmap import HeatmapChart
from gradaudit.report.charts.primitives import abbreviate, abbreviate_all, around, decades, text_width
from gradaudit.report.charts.svg import path_of, sanitize
from gradaudit.report.charts.theme import AXIS, frame
from gradaudit.report.html.run_figures import gradient_norm_chart, learning_rate_chart, loss_chart
from gradaudit.report.text import quantity
from tests.report.drawn import draw

HOSTILE = "\x00</text><script>\x1b[2J\u202e\uffff'\"&"


def line(*y: float | None, name: str = "train", **more: object) -> Lines:
    series = Series(name=name, x=[float(i) for i in range(len(y))], y=list(y))
    return Lines(title="t", caption="c", x_label="step", y_label="loss", series=[series], **more)  # type: ignore[arg-type]


def heat(values: list[list[float | None]], **more: object) -> Heatmap:
    rows = [f"h.{i}.weight" for i in range(len(values))]
    return Heatmap(title="t", caption="c", rows=rows, first_step=0, last_step=9, values=values,
                   groups=[f"h.{i}" for i in range(len(values))], **more)  # type: ignore[arg-type]  # fmt: skip


def pixels(uri: str) -> list[list[int]]:
    """The palette indices of a PNG data URI, row by row."""
    data = base64.b64decode(uri.partition(",")[2])
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    size = struct.unpack(">I", data[start - 4 : start])[0]
    raw = zlib.decompress(data[start + 4 : start + 4 + size])
    return [list(raw[i * (width + 1) + 1 : (i + 1) * (width + 1)]) for i in range(height)]


ODD: dict[str, AnyEvidence] = {
    "no series": Lines(title="t", caption="c", x_label="x", y_label="y", series=[]),
    "no points": line(),
    "one point": line(2.0),
    "only gaps": line(None, None, None),
    "constant": line(1.0, 1.0, 1.0),
    "constant on a log axis": line(1.0, 1.0, 1.0, log=True),
    "zero and negative on a log axis": line(0.0, -1.0, 2.0, log=True),
    "only zero on a log axis": line(0.0, 0.0, log=True),
    "huge and tiny": line(1e-30, 1e30, log=True),
    "huge": line(0.0, 1e300),
    "negative": line(-3.0, -2.0, -5.0),
    "a mark outside": line(1.0, 2.0, marks=[Mark(label="far", x=1e9, y=3.0)]),
    "a mark at zero on a log axis": line(1.0, 2.0, log=True, marks=[Mark(label="zero", y=0.0)]),
    "hostile names": line(1.0, 2.0, name=HOSTILE, marks=[Mark(label=HOSTILE, y=1.5), Mark(label=HOSTILE, x=1.0)]),
    "unknown roles": Lines(title="t", caption="c", x_label=HOSTILE, y_label=HOSTILE,
                           series=[Series(name="a", x=[0, 1], y=[1, 2], role="odd")],
                           marks=[Mark(label="m", y=1, role="odd")]),
    "no dots": Dots(title="t", caption="c", x_label="x", dots=[]),
    "dots without a place": Dots(title="t", caption="c", x_label="x", dots=[
        Dot(label="a", value=0.0, group="weight", flagged=True),
        Dot(label=HOSTILE, value=None, group=HOSTILE, flagged=True)]),
    "linear dots": Dots(title="t", caption="c", x_label="x", log=False, marks=[Mark(label=HOSTILE, x=0.5)], dots=[
        Dot(label="a.weight", value=-1.0, group="weight"), Dot(label="b.weight", value=2.0, group="bias")]),
    "no rows": heat([]),
    "nothing recorded": heat([[None, None]]),
    "one cell": heat([[-3.0]]),
    "ragged": heat([[-3.0, -4.0], [-2.0]], zero=[[5], []], bad=[[], [0]]),
    "no bins": Distribution(title="t", caption="c", x_label="x", y_label="y", bins=[]),
    "empty bins": Distribution(title="t", caption="c", x_label="x", y_label="y", bins=[Bin(label=HOSTILE, count=0)]),
    "many bins": Distribution(title=HOSTILE, caption=HOSTILE, x_label=HOSTILE, y_label=HOSTILE,
                              bins=[Bin(label=f"a long label {i}", count=i, flagged=i == 99) for i in range(100)]),
    "no ridges": Ridges(title="t", caption="c", x_label="x", first=0, width=1, ridges=[]),
    "empty ridges": Ridges(title="t", caption="c", x_label="x", first=0, width=1, ridges=[
        Ridge(label=HOSTILE, shares=[]), Ridge(label=HOSTILE, shares=[0.0, 0.0], remark=HOSTILE)]),
    "no cells": Numbers(title="t", caption="c", columns=[], cells=[]),
    "ragged cells": Numbers(title="t", caption="c", columns=["a", "b"], cells=[["1"], ["1", "2", "3"], []]),
}  # fmt: skip


def test_every_kind_of_evidence_has_a_chart() -> None:
    assert set(figures.CHARTS) == set(get_args(AnyEvidence))
    assert {type(evidence) for evidence in ODD.values()} == set(figures.CHARTS)


@pytest.mark.parametrize("evidence", ODD.values(), ids=ODD.keys())
def test_odd_evidence_is_drawn_or_told(evidence: AnyEvidence) -> None:
    view = figure(evidence, "f", Budget())
    assert view.note in ("", "There is no value to draw.", "Every value is exactly 0.") or "1 of 2 tensors" in view.note
    assert bool(view.note) == (view.wide is None) or isinstance(evidence, Numbers)
    assert "\x00" not in str(view)
    for picture in (view.wide, view.narrow):
        if picture is not None:
            ElementTree.fromstring(picture)


def test_specifications_are_valid(audit: Audit) -> None:
    shown = [loss_chart(audit.overview), learning_rate_chart(audit.overview), gradient_norm_chart(audit.overview)]
    shown += [evidence for item in audit.all_ranked() for evidence in item.finding.evidence]  # type: ignore[misc]
    for evidence in shown:
        drawn = draw(evidence, narrow=False)
        if drawn is not None:
            drawn[0].properties(width=100, height=100).to_dict(validate=True)


def test_a_picture_is_the_same_each_time() -> None:
    first, second = (figure(ODD["constant"], "f", Budget()).wide for _ in range(2))
    assert first == second


def test_control_characters_never_reach_the_chart_engine() -> None:
    # vl-convert 1.9 aborts the process over U+0000, U+001B or U+FFFE; reaching the next line is the test.
    drawn = draw(line(1.0, 2.0, name=HOSTILE), narrow=False)
    assert drawn is not None
    chart, size = drawn
    chart.title = HOSTILE
    assert "\\x00" in render(chart, size, "f", "t", "d")


def test_values_without_a_place_on_a_log_axis_are_gaps() -> None:
    drawn = draw(line(1.0, 0.0, 10.0, log=True), narrow=False)
    assert drawn is not None
    text = str(drawn[0].to_dict(validate=False))
    assert "{'x': 1.0, 'y': None}" in text
    assert "'y': 0.0" not in text


def test_a_spent_budget_leaves_the_numbers() -> None:
    view = figure(line(1.0, 2.0), "f", Budget(left=0))
    assert view.wide is None
    assert "as many charts as it can hold" in view.note
    assert view.table.rows == (("0", quantity(1.0)), ("1", quantity(2.0)))


def test_what_is_drawn_is_taken_off_the_budget() -> None:
    budget = Budget(left=100_000)
    view = figure(line(1.0, 2.0), "f", budget)
    assert view.wide is not None
    assert view.narrow is not None
    assert view.tooltip
    assert budget.left == 100_000 - len(view.wide) - len(view.narrow) - len(view.tooltip)


def test_cells_become_palette_indices() -> None:
    shown = heat([[-4.0, -2.0, None], [-3.0, -3.0, -3.0]], zero=[[1], []], bad=[[], [2]])
    low, middle, high = cells.FIRST_SHADE, cells.FIRST_SHADE + 120, cells.FIRST_SHADE + cells.SHADES - 1
    assert pixels(cells.png(shown, (-4.0, -2.0))) == [
        [low, cells.ZERO, cells.ABSENT],
        [middle, middle, cells.BAD],
    ]
    assert pixels(cells.png(heat([[-9.0, 9.0]]), (-4.0, -2.0))) == [[low, high]]


def test_the_script_knows_what_each_palette_index_means() -> None:
    shown = heat([[-4.0, -2.0, None], [-3.0, -3.0, -3.0]], zero=[[1], []], bad=[[], [2]], empty="not sampled")
    plot = json.loads(chart_of(shown).tooltip())
    assert plot["words"][cells.ABSENT] == "not sampled"
    assert plot["words"][cells.ZERO] == "exactly zero, or no gradient"
    assert plot["words"][cells.BAD] == "NaN or Inf"
    assert len(plot["words"]) == cells.FIRST_SHADE
    assert plot["shades"] == cells.SHADES
    picture = base64.b64decode(cells.png(shown, (-4.0, -2.0)).partition(",")[2])
    # The script takes the pixels from between these: the numbers are the last chunk, before a checksum and an end.
    lines = zlib.decompress(picture[picture.index(b"IDAT") + 4 : -16])
    assert len(lines) == 2 * (1 + 3)


def test_the_colours_of_special_cells_are_no_shades() -> None:
    colours = cells.palette()
    assert len(colours) == cells.FIRST_SHADE + cells.SHADES <= 256
    assert colours[cells.ZERO] not in colours[cells.FIRST_SHADE :]
    assert colours[cells.BAD] not in colours[cells.FIRST_SHADE :]


@pytest.mark.parametrize("narrow", [False, True])
def test_a_row_of_zeros_can_be_seen_on_white_paper(narrow: bool) -> None:
    shown = heat([[None, None], [-2.0, -2.0]], zero=[[0, 1], []], flagged=["h.0.weight"])
    drawn = draw(shown, narrow=narrow)
    assert drawn is not None
    svg = render(*drawn, "f", "t", "d")
    assert f'stroke="{AXIS}"' in svg, "the panel has no outline"
    assert "◂" in svg
    assert "no gradient" in svg


def test_the_legend_names_every_series_of_several() -> None:
    two = line(1.0, 2.0)
    two = msgspec.structs.replace(
        two, series=[*two.series, Series(name="validation", x=[0.0], y=[1.0], role="evaluation")]
    )
    entries = figure(two, "f", Budget()).legend.entries
    assert [entry.name for entry in entries] == ["train", "validation"]
    assert len({(entry.colour, entry.dash) for entry in entries}) == 2
    assert figure(line(1.0, 2.0), "f", Budget()).legend.entries == ()


def test_series_of_one_role_differ_in_colour_or_dash() -> None:
    many = Lines(title="t", caption="c", x_label="x", y_label="y",
                 series=[Series(name=str(i), x=[0.0], y=[1.0]) for i in range(4)])  # fmt: skip
    assert len(set(lines.line_styles(many))) == 4


def test_end_labels_are_kept_apart() -> None:
    steps = [0.0, 1.0]
    some = [Series(name=str(y), x=steps, y=[y, y]) for y in (50.0, 50.1, 50.2, 1.0, 99.9, 100.0)]
    drawn = draw(Lines(title="t", caption="c", x_label="x", y_label="y", series=some), narrow=False)
    assert drawn is not None
    rows = [row for rows in drawn[0].to_dict(validate=False)["datasets"].values() for row in rows if "s" in row]
    ordered = sorted(row["y"] for row in rows)
    assert len(ordered) == 6
    assert all(b - a >= 13 - 1e-9 for a, b in pairwise(ordered))
    assert ordered[0] >= 4
    assert ordered[-1] <= drawn[1].height


def words_of(evidence: AnyEvidence) -> list[str]:
    drawn = draw(evidence, narrow=False)
    assert drawn is not None
    return [row["s"] for rows in drawn[0].to_dict(validate=False)["datasets"].values() for row in rows if "s" in row]


def shares(*values: float, log: bool = False, groups: tuple[str, ...] = ("activation",)) -> Dots:
    dots = [Dot(label=f"layers.{i}.weight", value=value, group=groups[i % len(groups)], flagged=i == 1)
            for i, value in enumerate(values)]  # fmt: skip
    return Dots(title="t", caption="c", x_label="share", dots=dots, log=log)


def stems(evidence: Dots) -> list[float]:
    drawn = draw(evidence, narrow=False)
    assert drawn is not None
    rows = [row for rows in drawn[0].to_dict(validate=False)["datasets"].values() for row in rows]
    return sorted(row["x2"] for row in rows if "x2" in row and row["x"] == 0)


def test_shares_are_dots_at_the_end_of_a_line_from_zero() -> None:
    assert stems(shares(0.5, 0.9, 0.0)) == [0.5, 0.9]
    assert stems(shares(0.5, 0.9, log=True)) == [], "a log axis has no zero"
    assert stems(shares(-0.5, 0.9)) == []


def test_dots_of_one_kind_need_no_legend() -> None:
    assert figure(shares(0.5, 0.9), "f", Budget()).legend.entries == ()
    assert len(figure(shares(0.5, 0.9, groups=("weight", "bias")), "f", Budget()).legend.entries) == 2


def test_each_bar_says_its_value_where_all_have_room() -> None:
    def bars(count: int) -> Distribution:
        bins = [Bin(label=str(i), count=100 + i, flagged=i == 0) for i in range(count)]
        return Distribution(title="t", caption="c", x_label="class", y_label="targets", bins=bins)

    assert {"100", "101", "102"} < set(words_of(bars(3)))
    assert "100" in words_of(bars(90))
    assert "150" not in words_of(bars(90))


def test_counts_have_whole_ticks_and_whole_values() -> None:
    drawn = draw(line(0.0, 3.0), narrow=False)
    assert drawn is not None
    assert "'tickMinStep': 1" in str(drawn[0].to_dict(validate=False))
    assert "3" in words_of(line(0.0, 3.0))
    assert "3.00" not in words_of(line(0.0, 3.0))
    assert quantity(3.0) in words_of(line(0.5, 3.0))


@pytest.mark.parametrize(("low", "high"), [(1e-3, 1e-3), (0.5, 20.0), (1e-30, 1e30), (7.0, 8.0)])
def test_log_axes_end_at_powers_of_ten_around_the_values(low: float, high: float) -> None:
    first, last = around(low, high)
    assert first <= low <= high <= last
    assert first < last
    assert 1 <= len(decades(first, last)) <= 7


def test_frames_have_the_two_widths_of_the_page() -> None:
    for narrow, width in ((False, 798), (True, 346)):
        size = frame(100, narrow=narrow)
        assert size.left + size.width + size.right == width


def test_tidy_keeps_only_what_a_chart_needs() -> None:
    raw = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="10" height="20" '
        'onload="a()">'
        '<script>b()</script><foreignObject><p>c</p></foreignObject><a href="javascript:d()"><text>e</text></a>'
        '<style>f</style><image href="https://attacker.invalid/g"/><image href="data:image/svg+xml;base64,AAAA"/>'
        '<image xlink:href="data:image/png;base64,AAAA" x="1"/><use href="#h"/><animate onbegin="i()"/>'
        '<clipPath id="c"><rect width="1.23456" height="2"/></clipPath>'
        '<g clip-path="url(#c)"><path d="M0,0L1,1" stroke="#0b65b0" onclick="j()" style="k" fill="url(https://l.invalid)"/></g>'
        '<text fill="#5b6470" x="0.25">&lt;script&gt; 1.23456</text></svg>'
    )  # fmt: skip
    clean = sanitize(raw, identifier="one", title="<t>", description='"d"')
    root = ElementTree.fromstring(clean)
    assert [child.tag.rpartition("}")[2] for child in root] == ["title", "desc", "image", "clipPath", "g", "text"]
    for text in (
        "b()",
        "javascript",
        "attacker",
        "svg+xml",
        "foreignObject",
        "onclick",
        "onload",
        "l.invalid",
        "style=",
    ):
        assert text not in clean, text
    assert 'clip-path="url(#one-0)"' in clean
    assert 'id="one-0"' in clean
    assert 'width="1.2"' in clean
    assert "&lt;script&gt; 1.23456" in clean, "text is not geometry"
    assert "&lt;t&gt;" in clean


NUMBER = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)")


def corners(path: str) -> list[tuple[float, float]]:
    """The corners of a path of lines, its steps added up."""
    x = y = 0.0
    found = []
    for command, body in re.findall(r"([MlZ])([^MlZ]*)", path):
        numbers = [float(number) for number in NUMBER.findall(body)]
        for first, second in zip(numbers[::2], numbers[1::2], strict=True):
            x, y = (first, second) if command == "M" else (x + first, y + second)
            found.append((x, y))
        if command == "Z":
            x, y = found[-1]
    return found


def test_steps_between_corners_add_up_to_the_corners() -> None:
    random = numpy.random.default_rng(0)
    wanted = [(float(x), float(y)) for x, y in random.uniform(-5, 700, (500, 2)) * random.choice([1, 0.001], (500, 1))]
    path = "M" + "L".join(f"{x:.6f},{y:.6f}" for x, y in wanted)
    short = path_of(path)
    assert len(short) < 0.7 * len(path)
    for found, place in zip(corners(short), wanted, strict=True):
        assert found == pytest.approx(place, abs=0.0501)


def test_several_pieces_of_a_path_each_begin_where_they_did() -> None:
    assert path_of("M1,2L3,4L3,5ZM10,20L9,20") == "M1 2l2 2 0 1ZM10 20l-1 0"


def test_paths_of_more_than_lines_are_only_rounded() -> None:
    assert path_of("M3.162,0A3.162,3.162,0,1,1,-3.0,0") == "M3.1,0A3.1,3.1,0,1,1,-3,0"
    assert path_of("M1e-7,2L3,4") == "M1e-7,2L3,4"


RIDGES = Ridges(
    title="t", caption="c", x_label="size", first=-10, width=0.5,
    ridges=[Ridge(label="a", shares=[0.5, 0.25, 0.25], remark="odd"), Ridge(label="b", shares=[0.0, 1.0])],
)  # fmt: skip


def test_tooltips_stand_where_the_marks_do() -> None:
    dots = json.loads(figure(shares(0.5, 0.9), "f", Budget()).tooltip)
    assert [spot[2:] for spot in dots["spots"]] == [["layers.0.weight", "0.5"], ["layers.1.weight", "0.9"]]
    assert [spot[1] for spot in dots["spots"]] == [0.25, 0.75]
    assert dots["spots"][1][0] / dots["spots"][0][0] == pytest.approx(1.8, abs=0.01)
    bins = [Bin(label=str(i), count=i) for i in range(4)]
    bars = figure(Distribution(title="t", caption="c", x_label="class", y_label="n", bins=bins), "f", Budget())
    assert json.loads(bars.tooltip)["spots"][3] == [0.875, 0, "class 3", "3.00"]
    ridges = json.loads(figure(RIDGES, "f", Budget()).tooltip)
    assert [spot[2:] for spot in ridges["spots"]] == [["a\nodd", [500, 250, 250]], ["b", [0, 1000, 0]]]


def test_two_pictures_share_no_id() -> None:
    raw = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"><clipPath id="clip1"><rect/></clipPath></svg>'
    first, second = (ElementTree.fromstring(sanitize(raw, identifier=i, title="", description="")) for i in "ab")
    ids = [{element.get("id") for element in root.iter() if element.get("id")} for root in (first, second)]
    assert not ids[0] & ids[1]


def test_an_engine_panic_leaves_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    def broken(*_: object) -> None:
        raise Panic("index out of bounds")

    monkeypatch.setattr(figures, "render", broken)
    view = figure(line(1.0, 2.0), "f", Budget())
    assert view.wide is None
    assert "index out of bounds" in view.note


def test_labels_of_marks_do_not_cover_each_other() -> None:
    marks = [Mark(label=f"threshold number {i}", y=1.0 + i / 100) for i in range(3)]
    marks += [Mark(label=f"what happened at {i}", x=5.0 + i / 10) for i in range(3)]
    drawn = draw(line(*[1.0 + i / 10 for i in range(11)], marks=marks), narrow=False)
    assert drawn is not None
    spec = drawn[0].to_dict(validate=False)
    rows = [row for rows in spec["datasets"].values() for row in rows if "s" in row and " " in row["s"]]
    boxes = list({(row["x"], row["x"] + len(row["s"]) * 6, row["y"]) for row in rows})  # a halo has the same words
    assert len(boxes) == 6
    for i, (left, right, y) in enumerate(boxes):
        for other_left, other_right, other in boxes[:i]:
            assert left >= other_right or other_left >= right or abs(y - other) >= 12, rows


@pytest.mark.parametrize(
    ("label", "room", "shown"),
    [
        ("layers.12.mlp.expand", 21, "layers.12.mlp.expand"),
        ("layers.12.mlp.expand", 15, "…12.mlp.expand"),
        ("blocks.3.conv.shortcut", 14, "…3…shortcut"),
        ("blocks.3.conv.shortcut", 8, "…3…rtcut"),
        ("encoder_of_images.weight", 12, "encod…eight"),
    ],
)
def test_a_label_that_is_cut_keeps_the_number_of_its_layer(label: str, room: int, shown: str) -> None:
    width = room * text_width("x")
    assert abbreviate(label, width) == shown
    assert text_width(abbreviate(label, width)) <= width


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_every_row_of_a_small_model_has_its_name(narrow: bool) -> None:
    names = [f"block.{i // 2}.{kind}" for i, kind in enumerate(["norm.bias", "fc.bias"] * 8)]
    shown = msgspec.structs.replace(heat([[-3.0] * 9] * 16), rows=names, groups=["block"] * 16)
    panels = [msgspec.structs.replace(shown, title="Weight matrices"), shown]
    size = HeatmapChart(panels).frame(narrow=narrow)
    chart = HeatmapChart(panels).draw(size)
    texts = re.findall(r">([^<>]+)</text>", str(render(chart, size, "id", "t", "d")))
    for label in names:
        assert texts.count(label) >= 2, f"{label} has no label"


def test_rows_that_are_places_of_a_scale_are_labelled_by_their_decade() -> None:
    shown = msgspec.structs.replace(heat([[-1.0]] * 3), rows=["0.5", "2e-4", "1.1e-4"], groups=["1e-1", "1e-4", "1e-4"])
    assert not heatmap.named_rows(shown)
    assert heatmap.named_rows(heat([[-1.0]] * 3))


def special(shown: Heatmap) -> tuple[tuple[str, str], ...]:
    scale = chart_of(shown).legend().scale
    assert scale is not None
    return scale.special


def test_the_legend_of_a_heatmap_names_only_the_colours_that_occur() -> None:
    words = [name for _, name in special(heat([[-1.0, None]], empty="nothing of this size"))]
    assert words == ["nothing of this size"]
    assert special(heat([[-1.0, -2.0]])) == ()
    words = [name for _, name in special(heat([[None, None]], zero=[[0]], bad=[[1]]))]
    assert words == ["exactly zero, or no gradient", "NaN or Inf"]


def test_what_is_not_known_has_another_colour_than_zero() -> None:
    shown = heat([[None, -1.0]])
    drawn = str(render(*draw(shown, narrow=False), "id", "t", "d"))
    assert f'fill="{cells.EMPTY_COLOUR}"' in drawn
    assert cells.EMPTY_COLOUR != cells.ZERO_COLOUR


def test_a_few_dots_have_a_row_and_a_name_each() -> None:
    few = [Dot(label=f"lstm.weight_{i}h_l0", value=1.0, group="weight") for i in "ih"]
    assert dots.bands(few) == (["lstm.weight_ih_l0", "lstm.weight_hh_l0"], [0, 1])
    many = [Dot(label=f"h.{i}.{kind}.weight", value=1.0, group="weight") for i in range(10) for kind in "ab"]
    assert len(dots.bands(many)[0]) < len(many)


def test_labels_with_one_beginning_lose_it_together() -> None:
    labels = ["stem.weight", "blocks.0.bn1.weight", "blocks.0.bn1.bias", "head.weight"]
    assert abbreviate_all(labels, 18 * text_width("x")) == [
        "stem.weight",
        "…0.bn1.weight",
        "…0.bn1.bias",
        "head.weight",
    ]
    assert abbreviate_all(labels, 20 * text_width("x")) == labels


def test_broad_letters_take_more_room() -> None:
    assert text_width("memory") > text_width("linear")
