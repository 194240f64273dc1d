"""Line charts: nothing without a place vanishes, labels stand at their lines, numbers read as they should."""

import re
from functools import partial

import numpy
import pytest

from gradaudit.chart_data import Dot, Dots, Lines, Mark, Series
from gradaudit.evidence.charts.reduce import banded, plain
from gradaudit.report.charts.figures import Budget, figure
from gradaudit.report.charts.lines import line_styles
from gradaudit.report.charts.plot_area import PlotArea
from gradaudit.report.charts.primitives import signed
from tests.report.drawn import draw

STEPS = numpy.arange(300)
TURNS_ZERO = numpy.where(STEPS < 150, 1e-3, 0.0)


def chart(*series: Series, log: bool = True, **more: object) -> Lines:
    return Lines(title="t", caption="c", x_label="step", y_label="norm", series=list(series), log=log, **more)  # type: ignore[arg-type]


def rows_of(evidence: Lines | Dots, *, narrow: bool = False) -> list[dict[str, float | str]]:
    drawn = draw(evidence, narrow=narrow)
    assert drawn is not None
    return [row for rows in drawn[0].to_dict(validate=False)["datasets"].values() for row in rows]


def words_of(evidence: Lines | Dots, *, narrow: bool = False) -> dict[str, tuple[float, float]]:
    """Where each text stands."""
    return {row["s"]: (row["x"], row["y"]) for row in rows_of(evidence, narrow=narrow) if "s" in row}  # type: ignore[misc]


def strokes(evidence: Lines, *, top: bool) -> list[tuple[float, float]]:
    """Left and right of the strokes at the upper or the lower edge."""
    size = draw(evidence, narrow=False)[1]  # type: ignore[index]
    boxes = [row for row in rows_of(evidence) if {"x", "x2", "y", "y2"} <= row.keys()]
    edge = [row for row in boxes if (row["y"] == 0 if top else row["y2"] == size.height)]
    return [(float(row["x"]), float(row["x2"])) for row in edge]


@pytest.mark.parametrize("reduce", [partial(banded, log=True), plain], ids=["banded", "plain"])
def test_a_line_that_turns_zero_goes_on_along_the_lower_edge(reduce) -> None:  # type: ignore[no-untyped-def]
    shown = chart(reduce("norm", STEPS, TURNS_ZERO))
    *_, (left, right) = sorted(strokes(shown, top=False), key=lambda stroke: stroke[1] - stroke[0])
    width = draw(shown, narrow=False)[1].width  # type: ignore[index]
    assert (left, right) == pytest.approx((width * 150 / 299, width), abs=width / 240 + 3)
    words = words_of(shown)
    assert "exactly 0" in words
    assert words["0"][1] > 200, "the end label is the last value, and stands where the line is"


def test_zeros_of_one_line_of_several_are_named_after_it() -> None:
    shown = chart(plain("frozen", STEPS, STEPS * 0), plain("other", STEPS, STEPS * 0 + 1e-3))
    assert "frozen: exactly 0" in words_of(shown)
    below = chart(plain("odd", STEPS, numpy.where(STEPS < 9, -1, 0.1)))
    assert "0 or below from step 0 to 8" in words_of(below), "a short stroke says where it is"


def test_zeros_in_the_band_only_are_told_apart_from_a_line_at_zero() -> None:
    norms = numpy.ones(5000)
    norms[2222] = 0.0
    words = words_of(chart(banded("norm", numpy.arange(5000), norms, log=True)))
    assert "some are exactly 0 near step 2,217" in words


def test_a_linear_axis_has_a_place_for_zero() -> None:
    assert strokes(chart(plain("norm", STEPS, TURNS_ZERO), log=False), top=False) == []


@pytest.mark.parametrize(
    ("series", "words"),
    [
        (plain("a", STEPS, STEPS * 0), "Every value is exactly 0."),
        (plain("a", STEPS, STEPS * 0 - 1), "Every value is 0 or below, and has no place on a logarithmic axis."),
        (plain("a", STEPS, STEPS * numpy.nan, bad=STEPS >= 0), "Every value is NaN or infinite."),
        (plain("a", STEPS, STEPS * numpy.nan), "There is no value to draw."),
        (plain("a", STEPS, numpy.where(STEPS < 9, numpy.nan, 0), bad=STEPS < 9),
         "Every other value is exactly 0; some are NaN or infinite."),
    ],
)  # fmt: skip
def test_a_chart_without_a_place_for_any_value_is_a_sentence(series: Series, words: str) -> None:
    view = figure(chart(series), "f", Budget())
    assert (view.note, view.wide) == (words, None)
    assert bool(view.table.rows) == (words != "Every value is exactly 0."), "rows of zeros would say it again"


def test_nan_and_infinities_are_a_stroke_along_the_upper_edge() -> None:
    loss = numpy.where((STEPS >= 100) & (STEPS < 130), numpy.nan, 1.0)
    bad = chart(banded("train", STEPS, loss, bad=numpy.isnan(loss)))
    ((left, right),) = strokes(bad, top=True)
    assert right - left == pytest.approx(29 / 299 * draw(bad, narrow=False)[1].width, abs=0.5)  # type: ignore[index]
    assert "NaN or Inf" in words_of(bad)
    assert strokes(chart(banded("train", STEPS, loss)), top=True) == [], "not known is not NaN"
    marked = chart(banded("train", STEPS, loss, bad=numpy.isnan(loss)), marks=[Mark(label="first NaN or Inf", x=100)])
    assert "NaN or Inf" not in words_of(marked)
    assert any("NaN or Inf" in row[1] for row in figure(bad, "f", Budget()).table.rows), "and so does the table"


def test_stretches_of_nan_that_touch_are_one_stroke() -> None:
    """A file made elsewhere may list one for every step."""
    line = plain("train", STEPS, STEPS * 0 + 1.0)
    listed = Series(name="train", x=line.x, y=line.y, bad=[(i / 1000, i / 1000) for i in range(200_000)])
    boxes = strokes(chart(listed), top=True)
    assert len(boxes) == 1
    assert boxes[0][1] - boxes[0][0] > 400


def test_dots_without_a_place_are_named_in_their_row() -> None:
    values = {"a.weight": 1e-3, "b.weight": 0.0, "c.weight": None}
    shown = Dots(
        title="t", caption="c", x_label="x", dots=[Dot(label=k, value=v, group="weight") for k, v in values.items()]
    )
    assert {"◂ exactly 0: weight", "◂ no value: weight"} <= words_of(shown).keys()
    zero = Dots(title="t", caption="c", x_label="x", dots=[Dot(label="a", value=0.0, group="weight")])
    assert figure(zero, "f", Budget()).note == "Every value is exactly 0."


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("last", [0, 1, 2, 7, 120])
def test_steps_are_whole_numbers(last: int, narrow: bool) -> None:
    view = figure(chart(plain("a", range(last + 1), numpy.ones(last + 1))), "f", Budget())
    texts = re.findall(r">([^<>]*)</text>", view.narrow if narrow else view.wide)  # type: ignore[arg-type]
    ticks = texts[: texts.index("step")]
    assert {"0", "1"} <= set(ticks) or last > 2
    assert all(tick.isdigit() for tick in ticks), ticks


def test_the_label_of_a_line_that_ends_early_stands_at_its_end() -> None:
    short = plain("validation", STEPS[:100], 2 + 0.0 * STEPS[:100], role="evaluation")
    shown = chart(plain("train", STEPS, 1 + 0.0 * STEPS), short, log=False)
    width = draw(shown, narrow=False)[1].width  # type: ignore[index]
    words = words_of(shown)
    assert words["validation 2"][0] == pytest.approx(width * 99 / 299 + 6, abs=1)
    assert words["train 1"][0] == width + 6


def test_an_early_label_that_would_cross_a_line_stands_at_the_right_edge() -> None:
    short = plain("validation", STEPS[:150], numpy.ones(150), role="evaluation")
    rough = plain("train", STEPS, numpy.where(STEPS % 2, 0.0, 2.0))
    shown = chart(rough, short, log=False)
    width = draw(shown, narrow=False)[1].width  # type: ignore[index]
    assert words_of(shown)["validation 1"][0] == width + 6


def test_numbers_of_a_chart_have_a_minus_sign() -> None:
    assert signed("best -0.5 · 1e-4, -.5, 2.0e-12") == "best −0.5 · 1e−4, −.5, 2.0e−12"
    assert signed("layer-1, conv-2d, a--1, 3-5, e-5") == "layer-1, conv-2d, a--1, 3-5, e-5"
    shown = chart(plain("gap", STEPS, -1e-5 - STEPS * 1e-6), log=False, marks=[Mark(label="at -1e-4", y=-1e-4)])
    view = figure(shown, "f", Budget())
    for picture in (view.wide, view.narrow):
        texts = re.findall(r">([^<>]*)</text>", picture)  # type: ignore[arg-type]
        assert "at −1e−4" in texts
        assert not [words for words in texts if "-" in words]
        assert not [words for words in texts if "e+" in words]
    assert any("-" in cell for row in view.table.rows for cell in row), "tables can be copied as numbers"


def test_a_band_without_a_line_has_a_swatch_in_the_legend() -> None:
    ribbon = Series(name="90 %", x=[0, 1], y=[None, None], low=[1, 1], high=[2, 2], role="reference")
    entries = figure(
        chart(ribbon, banded("median", [0, 1], [1.5, 1.5]), plain("one", [0, 1], [1, 2])), "f", Budget()
    ).legend.entries
    assert [entry.shape for entry in entries] == ["area", "band", "line"]
    assert [bool(entry.area) for entry in entries] == [True, True, False]


def test_a_label_without_room_loses_its_number_before_its_words() -> None:
    mark = Mark(label="best validation 0.0167 · step 150", x=150, y=0.5, role="best")
    shown = chart(plain("train", STEPS, numpy.linspace(0, 1, 300)), log=False, marks=[mark])
    assert "best validation" in words_of(shown, narrow=True)
    assert "best validation 0.0167 · step 150" in words_of(shown)


def test_the_label_of_a_mark_keeps_away_from_lines_where_it_can() -> None:
    steep = Series(name="train", x=[0, 3, 6], y=[1e4, 1e8, 1e15])
    rest = Series(name="end", x=[60], y=[None])
    shown = chart(steep, rest, marks=[Mark(label="first NaN or Inf", x=6)])
    size = draw(shown, narrow=True)[1]  # type: ignore[index]
    left, _ = words_of(shown, narrow=True)["first NaN or Inf"]
    assert left > size.width * 6 / 60


def boxes(evidence: Lines, words: str, *, narrow: bool = False) -> tuple[float, float, float]:
    """Left, right and middle of the words that begin so."""
    found = [(w, place) for w, place in words_of(evidence, narrow=narrow).items() if w.startswith(words)]
    assert found, f"{words} is not written: {list(words_of(evidence, narrow=narrow))}"
    shown, (left, middle) = found[0]
    return left, left + 6 * len(shown), middle


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(
    "loss",
    [numpy.full(300, 2.3), 2.3 + 0.4 * numpy.sin(STEPS / 2), 4.6 - 4.6 * STEPS / 300],
    ids=["on", "around", "across"],
)
def test_the_label_of_a_level_covers_no_line(loss: numpy.ndarray, narrow: bool) -> None:
    mark = Mark(label="ln(10) = 2.30 · uniform prediction", y=2.3, role="reference")
    shown = chart(Series(name="train", x=list(STEPS), y=list(loss)), log=False, marks=[mark])
    left, right, middle = boxes(shown, "ln(10)", narrow=narrow)
    size = draw(shown, narrow=narrow)[1]  # type: ignore[index]
    place = PlotArea(shown, size, None)
    inside = [y for x, y in zip(STEPS, loss, strict=True) if left <= place.across(float(x)) <= right]
    assert all(abs(place.down(y) - middle) > 6 for y in inside)
    assert right <= size.width + size.right, "and lies within the picture"


@pytest.mark.parametrize("narrow", [False, True])
def test_the_label_of_a_point_stands_near_it(narrow: bool) -> None:
    loss = plain("train", STEPS, 2 * numpy.exp(-STEPS / 40))
    shown = chart(loss, log=False, marks=[Mark(label="best validation 0.3 · step 150", x=150, y=0.3, role="best")])
    size = draw(shown, narrow=narrow)[1]  # type: ignore[index]
    left, right, middle = boxes(shown, "best validation", narrow=narrow)
    place = PlotArea(shown, size, None)
    assert abs(middle - place.down(0.3)) < 30
    assert min(abs(left - place.across(150)), abs(right - place.across(150))) < 30


def test_six_lines_of_a_role_differ_in_colour_and_dash() -> None:
    for role in ("main", "flagged", "evaluation"):
        found = line_styles(chart(*(Series(name=str(i), x=[0], y=[1], role=role) for i in range(6))))
        assert len({style.colour for style in found}) == 6
        assert len({style.dash for style in found}) == 6
    mixed = line_styles(
        chart(*(Series(name=str(i), x=[0], y=[1], role=role) for i, role in enumerate(4 * ["flagged"] + ["main"])))
    )
    assert len({style.colour for style in mixed}) == 5


def test_the_area_between_a_line_and_zero_ends_at_the_line() -> None:
    gap = Series(name="gap", x=[0, 1, 2], y=[-2, 1, 3], low=[-2, 0, 0], high=[0, 1, 3], role="evaluation")
    areas = [(row["x"], row["y"], row["y2"]) for row in rows_of(chart(gap, log=False)) if "y2" in row]
    assert areas == [(0, -2, 0), (1, 1, 0), (2, 3, 0)], "its edges are the line and zero, also where they cross"


def outlined(evidence: Lines) -> list[bool]:
    """Of each band: whether it has an outline."""
    drawn = draw(evidence, narrow=False)
    assert drawn is not None
    marks = [layer["mark"] for layer in drawn[0].to_dict(validate=False)["layer"] if "mark" in layer]
    return [bool(mark.get("line")) for mark in marks if mark["type"] == "area"]


def shapes(evidence: Lines) -> list[str]:
    """How the edges of each band are joined."""
    drawn = draw(evidence, narrow=False)
    assert drawn is not None
    marks = [layer["mark"] for layer in drawn[0].to_dict(validate=False)["layer"] if "mark" in layer]
    return [mark["interpolate"] for mark in marks if mark["type"] == "area"]


def test_slices_of_one_step_are_seen_in_the_band_of_every_line() -> None:
    rough = 1 + STEPS % 2
    assert outlined(chart(banded("train, d", STEPS, rough), banded("train, g", STEPS, 3 * rough))) == [True, True]


def test_an_inner_ribbon_is_joined_as_the_outer_one_is() -> None:
    x, wide, inner = [0, 10, 20], [1.0, 2.0, 9.0], [2.0, 3.0, 10.0]
    outer = Series(name="90 %", x=x, y=[None] * 3, low=wide, high=[20.0] * 3, role="reference")
    middle = Series(name="median", x=x, y=[4.0, 5.0, 12.0], low=inner, high=[15.0] * 3)
    assert shapes(chart(outer, middle)) == ["linear", "linear"]
    assert shapes(chart(middle)) == ["step-after"]


def dots_of(evidence: Lines, *, narrow: bool = False) -> list[float]:
    drawn = draw(evidence, narrow=narrow)
    assert drawn is not None
    spec = drawn[0].to_dict(validate=False)
    layers = [
        layer for layer in spec["layer"] if layer.get("mark", {}).get("type") == "point" and layer["data"]["name"]
    ]
    return [row["x"] for layer in layers for row in spec["datasets"][layer["data"]["name"]]]


def test_points_with_unrecorded_steps_between_them_are_dots_and_their_band_does_not_reach_on() -> None:
    steps = numpy.asarray([*range(200), *range(256, 1000, 64)])
    shown = chart(banded("norm", steps, 1.0 + steps % 7))
    assert {*map(float, range(256, 1000, 64))} <= set(dots_of(shown, narrow=True)), "on small screens, too"
    assert set(dots_of(shown)) == {199.0, *map(float, range(256, 1000, 64))}
    areas = [row for row in rows_of(shown) if "y2" in row]
    cut = [i for i, row in enumerate(areas) if row["x"] == 256.0]
    assert [row["y"] is None for row in areas[cut[0] : cut[0] + 3]] == [False, False, True]
    assert areas[cut[0] + 1]["x"] < 260


def test_short_names_tell_the_lines_apart_at_the_edge() -> None:
    tensors = [plain(f"encoder.conv{i}.weight", STEPS, i + 0.0 * STEPS, role="flagged") for i in (1, 2)]
    words = words_of(chart(*tensors, plain("median, and half of the layers", STEPS, 9 + 0.0 * STEPS)))
    assert {"encoder.conv1", "encoder.conv2", "median 9"} <= words.keys() or {
        "encoder.conv1 1",
        "encoder.conv2 2",
    } <= words.keys()


def test_all_numbers_at_the_edge_have_a_name_or_none_has() -> None:
    shown = chart(plain("a", STEPS, 1 + 0.0 * STEPS), plain("a long one", STEPS, 2 + 0.0 * STEPS))
    assert {"a 1", "a long one 2"} <= words_of(shown).keys()
    assert {"1", "2"} <= words_of(shown, narrow=True).keys()


def test_the_last_number_before_nan_does_not_stand_at_the_edge() -> None:
    loss = numpy.where(STEPS < 9, 10.0**STEPS, numpy.nan)
    shown = chart(banded("train", STEPS, loss, bad=STEPS >= 9))
    words = {w: place for w, place in words_of(shown).items() if w != "NaN or Inf"}
    size = draw(shown, narrow=False)[1]  # type: ignore[index]
    assert all(left < size.width / 2 and 12 < middle < size.height for left, middle in words.values()), words


def test_a_short_stretch_of_zeros_says_where_it_is() -> None:
    start = chart(plain("a", STEPS, numpy.where(STEPS < 3, 0.0, 1.0)), plain("b", STEPS, 1.0 + 0.0 * STEPS))
    assert "a: exactly 0 from step 0 to 2" in words_of(start)


def axis_of(evidence: Lines, budget: Budget) -> list[str]:
    view = figure(evidence, "f", budget)
    texts = re.findall(r">([^<>]*)</text>", str(view.wide))
    return texts[: texts.index("step")]


def test_charts_over_most_steps_of_a_run_share_its_axis() -> None:
    evaluations = plain("validation", range(9, 390, 10), numpy.ones(39))
    assert axis_of(chart(evaluations), Budget(steps=(0, 400)))[-1] == "400"
    assert axis_of(chart(plain("a", range(400), numpy.ones(400))), Budget())[-1] == "400", "a step ends where it ends"
    assert axis_of(chart(plain("a", range(50), numpy.ones(50))), Budget(steps=(0, 400)))[-1] == "50", (
        "one that looks closer"
    )


def test_an_evaluation_before_the_first_step_stands_at_step_0() -> None:
    view = figure(chart(plain("validation", [-1, 99, 199], [3, 2, 1])), "f", Budget())
    assert [row[0] for row in view.table.rows] == ["0", "99", "199"]
    assert "−1" not in axis_of(chart(plain("validation", [-1, 99, 199], [3, 2, 1])), Budget())
