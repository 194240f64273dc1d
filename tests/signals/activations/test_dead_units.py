"""The outputs without a gradient, against counts made by hand."""

import math

import numpy
import pytest

from gradaudit.signals.activations.dead_units import SILENT, dead_units
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling, parameters


def records(tensor, hit, silent, *, tracked=10, rows=10):
    """Rows of one layer at every tenth step."""
    return [
        {"optimizer": 0, "step": 10 * at, "tensor": tensor, "rows": rows, "tracked": tracked, "hit": h, "ever_hit": h,
         "moved": -1, "stopped": 0, "silent": s, "checksum": 0, "hits_histogram": [0], "movement": [math.nan],
         "never_hit_rows": [], "stopped_rows": []}
        for at, (h, s) in enumerate(zip(hit, silent, strict=True))
    ]  # fmt: skip


def units(path, rows, steps=60, loss=None, **changes):
    loss = falling(steps) if loss is None else loss
    return dead_units(build_run(path, loss=loss, rows=rows, **{"tensors": parameters(2), **changes}).trainings[0])


def test_shares_are_of_the_outputs_that_are_followed(tmp_path):
    hit, silent = numpy.asarray([10, 8, 6, 4, 3, 2]), numpy.asarray([0, 0, 0, 4, 5, 7])
    (found,) = units(tmp_path / "a", records(1, hit, silent, rows=1000))
    assert (found.layer.id, found.outputs, found.share, found.first) == (1, 1000, 0.7, 0)
    assert found.steps.tolist() == [0, 10, 20, 30, 40, 50]
    numpy.testing.assert_allclose(found.without, 1 - hit / 10)


def test_a_layer_without_a_gradient_at_one_step_is_left_out(tmp_path):
    rows = records(0, [5] * 6, [5] * 6) + records(1, [5] * 6, [5] * 6)
    there = numpy.ones((60, 2), dtype=bool)
    there[30, 0] = False
    assert [one.layer.id for one in units(tmp_path / "a", rows, stats={"has_grad": there})] == [1]


@pytest.mark.parametrize(("steps", "layers"), [(SILENT - 1, 0), (SILENT, 1)])
def test_too_few_recorded_steps_tell_nothing(tmp_path, steps, layers):
    assert len(units(tmp_path / "a", records(0, [5] * 3, [5] * 3), steps)) == layers


@pytest.mark.parametrize(
    ("of_weight", "of_bias", "expected"),
    [(0.1, 0.1, (True, False)), (0.0, 0.1, (True, True)), (0.0, 0.0, (False, False)), (math.nan, 0.1, (True, True))],
)
def test_inputs_of_zero_leave_the_bias_its_gradient(tmp_path, of_weight, of_bias, expected):
    norms = numpy.asarray([of_weight, of_bias])
    (found,) = units(
        tmp_path / "a", records(0, [0] * 6, [10] * 6), tensors=linear_stack(1), stats={"gradient_norm": norms}
    )
    assert (found.has_nonzero_grad, found.zero_input) == expected


def test_a_gradient_of_long_ago_does_not_count(tmp_path):
    norms = numpy.where(numpy.arange(60)[:, None] < 30, 0.1, [[0.0, 0.0]])
    (found,) = units(
        tmp_path / "a", records(0, [0] * 6, [10] * 6), tensors=linear_stack(1), stats={"gradient_norm": norms}
    )
    assert (found.has_nonzero_grad, found.zero_input) == (False, False)


def test_of_a_run_that_breaks_the_part_before(tmp_path):
    loss = falling(60)
    loss[45:] = math.nan
    (found,) = units(tmp_path / "a", records(0, [10, 9, 8, 7, 6, 0], [0, 1, 2, 3, 4, 10]), loss=loss)
    assert (found.steps.tolist(), found.share) == ([0, 10, 20, 30, 40], 0.4)


def test_embedding_rows_are_no_units(tmp_path):
    rows = [{**row, "moved": 3} for row in records(0, [5] * 6, [5] * 6)]
    assert units(tmp_path / "a", rows) == []
    assert dead_units(build_run(tmp_path / "b", loss=falling(60)).trainings[0]) == []
