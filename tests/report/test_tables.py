"""The numbers behind the charts, and the running text of a diagnoser's page."""

import numpy
import pytest

from gradaudit.chart_data import AnyEvidence, Dot, Dots, Heatmap, Lines, Numbers, Series
from gradaudit.evidence.charts.reduce import banded, plain
from gradaudit.report.charts.figures import chart_of
from gradaudit.report.charts.line_table import SLICES
from gradaudit.report.charts.tables import MOST_ROWS
from gradaudit.report.html.prose import prose
from gradaudit.report.model import Piece, TableView
from gradaudit.report.text import quantity


def numbers(evidence: AnyEvidence) -> TableView:
    return chart_of(evidence).table()


def test_few_points_are_listed_one_by_one() -> None:
    series = [Series(name="validation", x=[0.0, 99.0], y=[2.0, None])]
    table = numbers(Lines(title="", caption="", x_label="step", y_label="", series=series))
    assert table.head == ("step", "validation")
    assert table.rows == (("0", quantity(2.0)), ("99", "–"))


def test_many_points_are_slices_that_keep_the_extremes() -> None:
    x = [float(i) for i in range(1000)]
    spike = [50.0 if i == 617 else 1.0 for i in range(1000)]
    series = [Series(name="train", x=x, y=[1.0] * 1000, low=[1.0] * 1000, high=spike)]
    table = numbers(Lines(title="", caption="", x_label="step", y_label="", series=series))
    assert table.head == ("step", "train", "least", "greatest")
    assert len(table.rows) == SLICES
    one, fifty = quantity(1.0), quantity(50.0)
    assert [row for row in table.rows if row[3] == fifty] == [("from 544", one, one, fifty)]


def lines_table(*series: Series) -> TableView:
    return numbers(Lines(title="", caption="", x_label="step", y_label="", series=list(series)))


def test_a_row_begins_with_the_value_of_its_step_and_the_last_row_is_the_end() -> None:
    steps = list(range(300))
    table = lines_table(plain("distance", steps, [step / 100 for step in steps]))
    values = {row[0]: float(row[1]) for row in table.rows}
    assert len(table.rows) == SLICES
    assert values["from 0"] == 0.0, "at the start nothing has moved"
    assert values["299"] == pytest.approx(2.99)
    drawn = plain("distance", steps, [step / 100 for step in steps])
    at = dict(zip(drawn.x, drawn.y, strict=True))
    assert all(value == pytest.approx(at[float(row.removeprefix("from "))], rel=0.01) for row, value in values.items())


def test_a_spike_between_two_rows_is_in_the_table() -> None:
    rates = [0.4 if step == 201 else 0.004 for step in range(300)]
    table = lines_table(plain("learning rate", range(300), rates))
    assert table.head == ("step", "learning rate", "least", "greatest")
    assert [row[3] for row in table.rows].count("0.4") == 1
    assert lines_table(plain("learning rate", range(300), range(300))).head == ("step", "learning rate")


def test_names_stand_once_in_the_head() -> None:
    loss = "training loss (cross_entropy)"
    alone = banded(loss, range(300), [1 + step % 2 for step in range(300)])
    assert lines_table(alone).head == ("step", loss, "least", "greatest")
    two = lines_table(alone, banded("objective", range(300), [1 + step % 3 for step in range(300)]))
    assert two.head[1:5] == (loss, "training loss, least", "training loss, greatest", "objective")


def test_a_nan_is_told_beside_the_values_of_its_slice() -> None:
    loss = numpy.where(numpy.arange(300) == 200, numpy.nan, 1.0)
    table = lines_table(banded("train", range(300), loss, bad=numpy.isnan(loss)))
    assert [row[0] for row in table.rows if "NaN or Inf" in row[1]] == ["from 190"]


def test_the_first_value_of_a_row_is_among_its_least_and_greatest() -> None:
    noisy = 10.0 ** numpy.random.default_rng(0).uniform(-3, 0, 600) + numpy.where(numpy.arange(600) > 444, 1e6, 0)
    for row in lines_table(banded("train", range(600), noisy, log=True)).rows[:-1]:
        least, first, greatest = float(row[2]), float(row[1]), float(row[3])
        assert least <= first <= greatest, row


def heads(series: Series) -> tuple[str, ...]:
    return numbers(Lines(title="", caption="", x_label="step", y_label="", series=[series])).head


def test_columns_that_say_nothing_are_left_out() -> None:
    x = [0.0, 1.0]
    area = Series(name="gap", x=x, y=[-1.0, 2.0], low=[-1.0, 0.0], high=[0.0, 2.0])
    assert heads(area) == ("step", "gap")
    ribbon = Series(name="90 %", x=x, y=[None, None], low=[1.0, 1.0], high=[2.0, 2.0])
    assert heads(ribbon) == ("step", "90 %, least", "90 %, greatest")
    empty = Series(name="lost", x=x, y=[None, None], low=[None, None], high=[None, None])
    assert heads(empty) == ("step", "lost"), "a series without a finite value keeps its column"


def test_flagged_tensors_come_first_and_the_rest_is_counted() -> None:
    dots = [Dot(label=f"t{i}", value=1.0, group="weight", flagged=i == 99) for i in range(100)]
    table = numbers(Dots(title="", caption="", x_label="ratio", dots=dots))
    assert table.rows[0] == ("t99", "weight", quantity(1.0))
    assert (len(table.rows), table.left_out) == (MOST_ROWS, 100 - MOST_ROWS)


def test_blocks_of_a_heatmap_have_their_medians_and_special_cells() -> None:
    heatmap = Heatmap(title="", caption="", rows=["a.w", "a.b", "b.w"], groups=["a", "a", "b"],
                      first_step=0, last_step=20,
                      values=[[-2.0] * 5 + [-3.0] * 15, [-2.0] * 5 + [-3.0] * 15, [None] * 20],
                      zero=[[], [], list(range(20))], bad=[[7], [], []])  # fmt: skip
    table = numbers(heatmap)
    assert [row[0] for row in table.rows] == ["a", "b"]
    assert table.rows[0][1:] == (quantity(0.01), quantity(0.001), quantity(0.001), "0", "1")
    assert table.rows[1][1:] == ("–", "–", "–", "20", "0")


def test_a_table_is_itself_and_rows_fit_its_head() -> None:
    table = numbers(
        Numbers(title="", caption="", columns=["a", "b"], cells=[["1"], ["1", "2", "3"], ["\x1b[2J", "x" * 500]])
    )
    assert table.rows[:2] == (("1", ""), ("1", "2"))
    assert table.rows[2][0] == "\\x1b[2J"
    assert len(table.rows[2][1]) <= 120


def test_running_text_has_paragraphs_lists_and_code() -> None:
    blocks = prose("One `x` line\ngoes on.\n\n- first\n  and more\n- second\n\n    code = 1\n\n1. one\n2. two")
    assert [block.kind for block in blocks] == ["paragraph", "list", "code", "list"]
    assert blocks[0].lines == ((Piece("One "), Piece("x", code=True), Piece(" line goes on.")),)
    assert [line[0].text for line in blocks[1].lines] == ["first and more", "second"]
    assert blocks[2].lines == ((Piece("code = 1"),),)
    assert [line[0].text for line in blocks[3].lines] == ["one", "two"]


def test_no_text_is_no_block() -> None:
    assert prose("") == ()
    assert prose("\n\n  \n") == ()
