"""Line charts: nothing without a place vanishes, labels stand at their lines, numbers read as they should."""

import re
from functools import partial

import numpy
import pytest

from gradaudit.derived.reduce import banded, plain
from gradaudit.findings import Dot, Dots, Lines, Mark, Series
from gradaudit.report.charts import Budget, draw, figure
from gradaudit.report.marks import signed

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
    assert "0 or below" in words_of(below)


def test_zeros_in_the_band_only_are_told_apart_from_a_line_at_zero() -> None:
    norms = numpy.ones(5000)
    norms[2222] = 0.0
    words = words_of(chart(banded("norm", numpy.arange(5000), norms, log=True)))
    assert "some are exactly 0" in words


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
    assert view.table.rows


def test_nan_and_infinities_are_a_stroke_along_the_upper_edge() -> None:
    loss = numpy.where((STEPS >= 100) & (STEPS < 130), numpy.nan, 1.0)
    bad = chart(banded("train", STEPS, loss, bad=numpy.isnan(loss)))
    ((left, right),) = strokes(bad, top=True)
    assert right - left == pytest.approx(29 / 299 * draw(bad, narrow=False)[1].width, abs=0.5)  # type: ignore[index]
    assert "NaN or Inf" in words_of(bad)
    assert strokes(chart(banded("train", STEPS, loss)), top=True) == [], "not known is not NaN"
    marked = chart(banded("train", STEPS, loss, bad=numpy.isnan(loss)), marks=[Mark(label="first NaN or Inf", x=100)])
    assert "NaN or Inf" not in words_of(marked)
    assert any("NaN or Inf" in row for row in figure(bad, "f", Budget()).table.rows), "and so does the table"


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
    keys = figure(chart(ribbon, banded("median", [0, 1], [1.5, 1.5]), plain("one", [0, 1], [1, 2])), "f", Budget()).keys
    assert [key.shape for key in keys] == ["area", "band", "line"]
    assert [bool(key.area) for key in keys] == [True, True, False]


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
