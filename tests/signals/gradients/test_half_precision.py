"""Gradients on float16's number line, against numbers that numpy rounds to it."""

import math

import numpy
import pytest

from gradaudit.signals.gradients.half_precision import LOWEST, NORMAL, SMALLEST, first_gradients, gradients
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling, parameters
from tests.diagnosers.sick_precision import STEPS, histogram, in_half
from tests.diagnosers.sick_precision import gradients as sizes


@pytest.mark.parametrize("scale", [1.0, 1024.0, 65536.0])
@pytest.mark.parametrize("limit", [SMALLEST, NORMAL, 0])
def test_shares_are_of_gradients_before_they_are_unscaled(tmp_path, scale, limit):
    found = gradients(in_half(tmp_path / "a", scale=scale).trainings[0])
    before = sizes(1e-5, scale=scale) * scale
    numpy.testing.assert_allclose(found.below(limit), [(before < 2 ** (limit / 4)).mean()] * 4)
    assert found.scale == scale


@pytest.mark.parametrize(("scale", "rounded"), [(1.0, True), (1024.0, True), (0.0, False)])
def test_only_float16_leaves_whole_multiples_of_its_smallest_number(tmp_path, scale, rounded):
    assert gradients(in_half(tmp_path / "a", 1e-7, scale=scale).trainings[0]).rounded is rounded


def test_the_later_half_of_the_steps_is_pooled_and_the_first_is_taken_alone(tmp_path):
    rows = [histogram(numpy.full(10 + at, 2.0**-at), step, 0, zeros=at) for at, step in enumerate(STEPS)]
    training = build_run(tmp_path / "a", loss=falling(), histograms=rows).trainings[0]
    late, first = gradients(training), first_gradients(training)
    assert (late.steps.tolist(), first.steps.tolist()) == ([64, 128, 192], [0])
    assert (late.counts[0].sum(), late.zeros[0], first.counts[0].sum()) == (12 + 13 + 14, 2 + 3 + 4, 10)
    assert {int(at): int(late.counts[0, at - LOWEST]) for at in (-8, -12, -16)} == {-8: 12, -12: 13, -16: 14}


def test_a_scale_that_is_no_number_is_one(tmp_path):
    steps = {"amp_scale": numpy.where(numpy.arange(200) == 64, 8.0, math.inf)}
    found = gradients(in_half(tmp_path / "a", steps=steps).trainings[0])
    assert found.scale == 1.0


def test_what_lies_outside_is_counted_at_the_end(tmp_path):
    rows = [histogram(numpy.asarray([size]), 0, at) for at, size in enumerate((2.0**-60, 2.0**40, 1.0))]
    found = gradients(build_run(tmp_path / "a", loss=falling(), histograms=rows).trainings[0])
    assert numpy.argwhere(found.counts).tolist() == [[0, 0], [1, 4 * 56 - 1], [2, -LOWEST]]


def test_torn_histograms_are_counted_and_left_out(tmp_path):
    rows = [{**histogram(numpy.ones(5), step, 0), "negative": [0, 0]} for step in (0, 64)]
    found = gradients(build_run(tmp_path / "a", loss=falling(), histograms=rows).trainings[0])
    assert (found.torn, found.counts.sum()) == (1, 0)
    assert numpy.isnan(found.below(0)).all()


def test_tables_and_other_kinds_are_not_looked_at(tmp_path):
    of_table = [histogram(numpy.ones(5), 0, 0)]
    assert (
        gradients(
            build_run(tmp_path / "a", loss=falling(), tensors=linear_stack(embedding=9), histograms=of_table).trainings[
                0
            ]
        )
        is None
    )
    weights = [{**of_table[0], "kind": "parameter"}]
    assert (
        gradients(build_run(tmp_path / "b", loss=falling(), tensors=parameters(1), histograms=weights).trainings[0])
        is None
    )
    assert first_gradients(build_run(tmp_path / "c", loss=falling()).trainings[0]) is None
