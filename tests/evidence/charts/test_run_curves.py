"""The gap and the update-to-weight ratio of the layers, as every report draws them."""

import numpy
import pytest

from gradaudit.audit.overview import overview
from gradaudit.evidence.charts.run_curves import gap, layer_update_ratios
from gradaudit.schema import ModuleFacts
from tests.build import build_run

FALLING = numpy.linspace(2.3, 1.0, 100)
NET = [ModuleFacts(id=0, name="", module_class="Net")]


def held_out(*losses):
    return [(20 * index, "validation", loss) for index, loss in enumerate(losses)]


def test_the_gap_is_held_out_minus_training_loss(tmp_path):
    losses = [float(FALLING[20 * i]) + extra for i, extra in enumerate((0.0, 0.1, 0.2, 0.3, 0.4))]
    (series,) = gap(build_run(tmp_path / "a", loss=FALLING, evaluations=held_out(*losses), modules=NET))
    assert series.x == [0, 20, 40, 60, 80]
    assert series.y == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=0.005), "the line as the loss chart draws it"
    assert all(low <= 0 <= high for low, high in zip(series.low, series.high, strict=True))


def test_there_is_no_gap_where_the_losses_cannot_be_compared(tmp_path):
    few = build_run(tmp_path / "a", loss=FALLING, evaluations=held_out(2.0, 1.9), modules=NET)
    assert gap(few) == []
    dropout = [ModuleFacts(id=0, name="drop", module_class="Dropout", dropout=0.5)]
    run = build_run(tmp_path / "b", loss=FALLING, evaluations=held_out(2.0, 1.9, 1.8, 1.7), modules=dropout)
    assert gap(run) == []
    assert gap(build_run(tmp_path / "c", loss=FALLING)) == []


def test_ribbons_hold_the_layers_and_name_the_flagged_one(tmp_path):
    updates = numpy.tile([1e-4, 1, 1e-3, 1, 1e-2, 1, 1e-7, 1], (100, 1))
    run = build_run(tmp_path / "a", loss=FALLING, stats={"update_norm": updates})
    wide, middle, flagged = layer_update_ratios(run, {"layers.3.weight", "layers.0.bias"})
    assert (wide.role, middle.role, flagged.role) == ("reference", "main", "flagged")
    assert flagged.name == "layers.3.weight"
    assert set(flagged.y) == {1e-7}
    assert all(a <= b <= c <= d <= e for a, b, c, d, e in
               zip(wide.low, middle.low, middle.y, middle.high, wide.high, strict=True))  # fmt: skip
    assert len(layer_update_ratios(run, set())) == 2


def test_few_layers_have_no_ribbons(tmp_path):
    from tests.build import linear_stack

    run = build_run(tmp_path / "a", loss=FALLING, tensors=linear_stack(3))
    assert layer_update_ratios(run, set()) == []


def test_the_gap_is_the_distance_between_the_lines_of_the_loss_chart(tmp_path):
    rough = FALLING * numpy.random.default_rng(0).uniform(0.8, 1.2, 100)
    run = build_run(tmp_path / "a", loss=rough, evaluations=held_out(2.0, 1.9, 1.8, 1.7, 1.6), modules=NET)
    shown = overview(run, set())
    train = dict(zip(shown.loss[0].x, shown.loss[0].y, strict=True))
    apart = [y - train[x] for x, y in zip(shown.evaluations[0].x, shown.evaluations[0].y, strict=True)]
    assert shown.gap[0].y == pytest.approx(apart, abs=1e-3)


def test_there_is_no_gap_to_a_loss_that_is_no_number_any_more(tmp_path):
    broken = numpy.where(numpy.arange(100) < 50, FALLING, numpy.nan)
    run = build_run(tmp_path / "a", loss=broken, evaluations=held_out(2.3, 2.0, 1.9, 1.8, 1.7), modules=NET)
    assert [y is None for y in gap(run)[0].y] == [False, False, False, True, True]


def test_a_layer_that_does_not_move_is_a_line_at_zero(tmp_path):
    updates = numpy.tile([1e-4, 1, 1e-3, 1, 1e-2, 1, 0, 1], (100, 1))
    run = build_run(tmp_path / "a", loss=FALLING, stats={"update_norm": updates})
    *_, flagged = layer_update_ratios(run, {"layers.3.weight"})
    assert set(flagged.y) == {0.0}
