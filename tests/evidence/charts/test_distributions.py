"""Ridges and pictures of gradient sizes: where the values are, and what float16 would lose of them."""

import math

import msgspec
import numpy
import pytest

from gradaudit.evidence.charts.distributions import gradient_ridges, gradients_over_time
from gradaudit.signals.gradients.distributions import LOST, gradient_counts, share_below
from tests.build import build_run, linear_stack

LAYERS = 4


def histogram(step, tensor, exponent, count=1000):
    """One row of `histograms`: `count` values, half of them negative, in the octave from 2**exponent."""
    half = [count // 8] * 4
    return {
        "optimizer": 0, "step": step, "tensor": tensor, "kind": "gradient", "elements": count, "zeros": 0,
        "nonfinite": 0, "lowest": 4 * exponent, "positive": half, "negative": half,
    }  # fmt: skip


def recorded(path, exponents, steps=(0, 10), **more):
    rows = [histogram(step, 2 * i, exponent) for step in steps for i, exponent in enumerate(exponents)]
    return build_run(path, loss=numpy.linspace(2.3, 1.0, 100), histograms=rows, **more)


def test_without_histograms_there_is_nothing_to_draw(tmp_path):
    run = build_run(tmp_path / "a", loss=numpy.linspace(2.3, 1.0, 100))
    assert gradient_ridges(run, set()) is None
    assert gradients_over_time(run) == []


def test_each_block_has_its_place_on_the_axis(tmp_path):
    ridges = gradient_ridges(recorded(tmp_path / "a", (-30, -20, -10, -3)), {"layers.1.weight"})
    assert [ridge.label for ridge in ridges.ridges] == ["layers.0", "layers.1", "layers.2", "layers.3"]
    assert [ridge.flagged for ridge in ridges.ridges] == [False, True, False, False]
    for ridge, exponent in zip(ridges.ridges, (-30, -20, -10, -3), strict=True):
        assert sum(ridge.shares) == pytest.approx(1.0, abs=1e-3)
        edges = ridges.first + ridges.width * numpy.arange(len(ridge.shares))
        filled = edges[numpy.asarray(ridge.shares) > 0]
        assert (filled.min(), filled.max() + ridges.width) == (exponent, exponent + 1)
    assert [ridge.remark for ridge in ridges.ridges] == ["100 % zero in fp16", "", "", ""]


def test_a_sample_counts_for_the_whole_tensor(tmp_path):
    """Two tensors of a block, one counted ten times as densely: each has its elements' weight."""
    tensors = linear_stack(1, width=32)
    rows = [histogram(0, 0, -30, 80), histogram(0, 1, -3, 800)]
    tensors = [tensors[0], type(tensors[1])(**{**{f: getattr(tensors[1], f) for f in tensors[1].__struct_fields__},
               "role": "weight", "shape": [32, 32], "name": "layers.0.other"})]  # fmt: skip
    run = build_run(tmp_path / "a", loss=numpy.linspace(2.3, 1.0, 100), histograms=rows, tensors=tensors)
    (ridge,) = gradient_ridges(run, set()).ridges
    assert ridge.remark == "50 % zero in fp16"


def test_the_share_below_a_power_of_two(tmp_path):
    run = recorded(tmp_path / "a", (LOST - 1, LOST, LOST + 1, 0))
    (first, *_) = gradient_counts(run.trainings[0]).values()
    assert [share_below(first[tensor], LOST) for tensor in (0, 2, 4, 6)] == [1.0, 0.0, 0.0, 0.0]
    assert math.isnan(share_below(numpy.zeros(1200), LOST))


def test_values_beyond_float32_and_empty_rows_do_no_harm(tmp_path):
    rows = [histogram(0, 0, -400), histogram(0, 2, 300), histogram(0, 4, -3) | {"positive": [], "negative": None}]
    run = build_run(tmp_path / "a", loss=numpy.linspace(2.3, 1.0, 100), histograms=rows)
    assert gradient_ridges(run, set()) is None


def test_over_time_each_histogram_stands_until_the_next(tmp_path):
    rows = [histogram(step, tensor, -5 - step // 20) for step in range(0, 100, 10) for tensor in (0, 2, 4, 6)]
    run = build_run(tmp_path / "a", loss=numpy.linspace(2.3, 1.0, 100), histograms=rows)
    first, middle, last = gradients_over_time(run)
    assert [panel.title for panel in (first, middle, last)] == [f"layers.{i}.weight" for i in (0, 2, 3)]
    brightest = [max(range(len(first.rows)), key=lambda row: first.values[row][column] or -9) for column in (0, -1)]
    large, small = (float(first.rows[row]) for row in brightest)
    assert math.log2(large / small) == pytest.approx(4, abs=1)
    assert len(first.values[0]) <= 280


def test_the_caption_names_the_shading_and_the_red_only_where_they_are(tmp_path):
    low = gradient_ridges(recorded(tmp_path / "a", (-30, -20, -10, -3)), {"layers.1.weight"}).caption
    assert "float16 would lose, or keep" in low
    assert "red outline" in low
    high = gradient_ridges(recorded(tmp_path / "b", (-5, -5, -4, -3)), set()).caption
    assert "float16" not in high
    assert "red" not in high


def test_a_few_elements_have_no_distribution(tmp_path):
    tensors = linear_stack(LAYERS)
    tensors[2] = msgspec.structs.replace(tensors[2], shape=[2, 2])
    run = recorded(tmp_path / "a", (-5, -5, -4, -3), steps=range(0, 100, 10), tensors=tensors)
    ridges = gradient_ridges(run, set())
    assert [ridge.label for ridge in ridges.ridges] == ["layers.0", "layers.2", "layers.3"]
    assert "fewer than 50 elements: layers.1." in ridges.caption
    assert [panel.title for panel in gradients_over_time(run)] == [f"layers.{i}.weight" for i in (0, 2, 3)]


def test_a_few_elements_far_below_do_not_stretch_the_axis_over_time(tmp_path):
    rows = [histogram(step, 0, -5) for step in range(0, 100, 10)]
    rows[3] |= {"lowest": -400, "positive": [20, *[0] * 379, *[245] * 4], "negative": []}
    run = build_run(tmp_path / "a", loss=numpy.linspace(2.3, 1.0, 100), histograms=rows)
    (panel,) = gradients_over_time(run)
    assert float(panel.rows[-1]) > 2.0**-12


def test_an_optimizer_beside_another_is_named_and_has_the_steps_of_both(tmp_path):
    owner = numpy.arange(200) % 2
    rows = [histogram(step, tensor, -5) for step in range(0, 100, 10) for tensor in (0, 2, 4, 6)]
    run = build_run(tmp_path / "a", loss=numpy.ones(200), histograms=rows,
                    steps={"optimizer": 1 - owner, "step": numpy.arange(200) // 2})  # fmt: skip
    assert "that AdamW 0 trains" in gradient_ridges(run, set()).caption
    assert "at step 181 " in gradient_ridges(run, set()).caption, "its own step 90"
    assert gradients_over_time(run)[0].last_step == 200
