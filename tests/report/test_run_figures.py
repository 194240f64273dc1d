"""The charts that every page shows say what they draw, and are sentences where a chart would say no more."""

from pathlib import Path
from typing import Any

import numpy
import pytest

from gradaudit.audit.overview import Overview, overview
from gradaudit.report.charts.figures import Budget
from gradaudit.report.html.run_figures import gap_chart, learning_rate_chart, run_figures
from gradaudit.report.model import FigureView
from gradaudit.schema import ModuleFacts
from tests.build import build_run

FALLING = numpy.linspace(2.3, 1.0, 100)
NET = [ModuleFacts(id=0, name="", module_class="Net")]


def look(path: Path, **run: Any) -> Overview:
    return overview(build_run(path / "run", **{"loss": FALLING, **run}), set())


def figures(view: Overview, budget: Budget | None = None) -> dict[str, FigureView]:
    return {one.id: one for one in run_figures(view, budget or Budget())}


def rated(path: Path, *rates: Any) -> Overview:
    return look(path, steps={"learning_rate": [list(row) for row in zip(*rates, strict=True)]})


def test_a_learning_rate_that_never_changes_is_a_sentence(tmp_path: Path) -> None:
    view = figures(rated(tmp_path / "a", [0.01] * 100))["figure-rate"]
    assert (view.note, view.wide, view.table.rows) == ("Learning rate: 0.01 at every step.", None, ())
    two = figures(rated(tmp_path / "b", [0.01] * 100, [0.1] * 100))["figure-rate"]
    assert two.note == "Learning rate: group 0 0.01; group 1 0.1; the same at every step."


def test_a_learning_rate_that_changes_once_is_drawn(tmp_path: Path) -> None:
    once = [0.4 if step == 51 else 0.004 for step in range(100)]
    view = figures(rated(tmp_path, [0.01] * 100, once))["figure-rate"]
    assert view.wide is not None
    assert any("0.4" in row for row in view.table.rows)


def test_a_learning_rate_mostly_far_below_its_peak_has_a_logarithmic_axis(tmp_path: Path) -> None:
    steps = numpy.arange(100)
    cosine = 0.05 * (1 + numpy.cos(numpy.pi * steps / 100))
    for index, (rates, log) in enumerate([(0.1 * 0.9**steps, True), (cosine, False), (0.1 - 0.0009 * steps, False)]):
        chart = learning_rate_chart(rated(tmp_path / str(index), rates))
        assert chart.log is log
        assert ("logarithmic" in chart.caption) is log


def held_out(*apart: float) -> list[tuple[int, str, float]]:
    return [(20 * i, "validation", float(FALLING[20 * i]) + more) for i, more in enumerate(apart)]


def test_the_gap_says_what_its_sides_mean(tmp_path: Path) -> None:
    above = gap_chart(look(tmp_path / "a", evaluations=held_out(0.1, 0.2, 0.3, 0.4, 0.5), modules=NET)).caption
    below = gap_chart(look(tmp_path / "b", evaluations=held_out(-0.1, -0.2, -0.3, -0.4, -0.5), modules=NET)).caption
    assert "overfitting" in above
    assert "Below zero" not in above
    assert "overfitting" not in below
    assert "Below zero it does better" in below


def test_the_gap_says_which_training_loss_it_is_to(tmp_path: Path) -> None:
    both = [*held_out(0.1, 0.2, 0.3, 0.4, 0.5), *((20 * i, "train", 1.0) for i in range(5))]
    assert "training loss as evaluated" in gap_chart(look(tmp_path / "a", evaluations=both, modules=NET)).caption
    running = gap_chart(look(tmp_path / "b", evaluations=held_out(0.1, 0.2, 0.3, 0.4, 0.5), modules=NET))
    assert "as evaluated" not in running.caption


def test_charts_of_some_steps_say_how_many(tmp_path: Path) -> None:
    every = figures(look(tmp_path / "a"))
    assert not [view.caption for view in every.values() if "Recorded at" in view.caption]
    recorded = numpy.arange(100) % 4 == 0
    some = figures(
        look(tmp_path / "b", steps={"recorded": recorded, "gradient_norm": numpy.where(recorded, 1.0, numpy.nan)})
    )
    assert "Recorded at 25 of 100 steps." in some["figure-norm"].caption


@pytest.mark.parametrize("steps", [20, 100])
def test_the_charts_of_a_page_share_the_steps_of_the_run(tmp_path: Path, steps: int) -> None:
    budget = Budget()
    figures(look(tmp_path, loss=FALLING[:steps]), budget)
    assert budget.steps == (0.0, float(steps))
