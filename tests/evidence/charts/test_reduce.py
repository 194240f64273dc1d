"""Reduced series keep every spike, do not lag and stay short; blocks of names are few and in order."""

import math
from itertools import groupby

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit.chart_data import Series
from gradaudit.evidence.charts.reduce import WIDEST, _digits, banded, blocks, halved, plain, short
from gradaudit.signals.smoothing import smooth


def distinct(names: list[str]) -> list[str]:
    """The labels of the blocks, in order."""
    return [label for label, _ in groupby(blocks(names))]


def gpt(depth: int) -> list[str]:
    """Names of a GPT-like model."""
    inner = [f"transformer.h.{i}.{part}.{kind}" for i in range(depth) for part in ("ln_1", "attn.c_attn", "mlp.c_fc")
             for kind in ("weight", "bias")]  # fmt: skip
    return ["transformer.wte.weight", *inner, "transformer.ln_f.weight", "lm_head.weight"]


def test_a_straight_line_is_not_bent_at_its_start() -> None:
    line = numpy.linspace(10, 0, 500)
    assert numpy.allclose(smooth(line)[:470], line[:470])


def test_the_end_is_no_single_step() -> None:
    loss = numpy.ones(500)
    loss[-1] = 5.0
    assert smooth(loss)[-1] < 1.01


def test_the_line_goes_from_the_first_value_to_the_last_step() -> None:
    falling = 9 * numpy.exp(-numpy.arange(1000) / 20)
    series = banded("train", numpy.arange(1000), falling)
    assert series.y[0] == pytest.approx(falling[0], rel=1e-3)
    assert series.x[-1] == 999


def test_a_single_spike_stays_in_the_band_and_out_of_the_line() -> None:
    loss = numpy.ones(5000)
    loss[3217] = 50.0
    series = banded("train", numpy.arange(5000), loss)
    assert max(v for v in series.high if v is not None) == 50.0
    assert max(v for v in series.y if v is not None) < 1.01


def test_gaps_stay_gaps() -> None:
    loss = numpy.ones(100)
    loss[40:60] = numpy.nan
    loss[70] = numpy.inf
    series = banded("train", numpy.arange(100), loss)
    assert [i for i, y in enumerate(series.y) if y is None] == [*range(40, 60), 70]
    assert series.low[50] is None


def test_nothing_but_nan_is_nothing_but_gaps() -> None:
    series = banded("train", numpy.arange(1000), numpy.full(1000, numpy.nan))
    assert set(series.y) == set(series.high) == {None}
    assert set(plain("train", numpy.arange(1000), numpy.full(1000, numpy.nan)).y) == {None}


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf), max_size=900))
@settings(max_examples=40, deadline=None)
def test_any_series_is_short_and_its_band_holds_every_finite_value(values: list[float]) -> None:
    series = banded("train", range(len(values)), values)
    finite = [value for value in values if math.isfinite(value)]
    assert len(series.x) == len(series.y) == len(series.low) == len(series.high) <= WIDEST
    if finite:
        assert min(v for v in series.low if v is not None) == pytest.approx(min(finite), rel=1e-3)
        assert max(v for v in series.high if v is not None) == pytest.approx(max(finite), rel=1e-3)
    assert len(plain("train", range(len(values)), values).x) <= WIDEST


def test_numbers_are_rounded_to_significant_digits() -> None:
    assert short(1.23456789e-12) == 1.235e-12
    assert short(math.nan) is None
    assert short(-math.inf) is None


def test_few_layers_each_have_their_block() -> None:
    assert distinct(gpt(12)) == ["wte", *[f"h.{i}" for i in range(12)], "ln_f", "lm_head"]


def test_many_layers_are_joined_and_not_lost() -> None:
    labels = distinct(gpt(32))
    assert labels[:2] == ["wte", "h.0–2"]
    assert labels[-3:] == ["h.30–31", "ln_f", "lm_head"]
    assert len(labels) <= 18


def test_a_prefix_that_numbers_would_be_left_of_is_kept() -> None:
    assert distinct(["layers.0.weight", "layers.1.weight", "layers.2.weight"]) == ["layers.0", "layers.1", "layers.2"]


@pytest.mark.parametrize(
    "names",
    [
        gpt(96),
        [f"l{i}.weight" for i in range(500)],
        [f"{'ab'[i % 2]}.{i}.weight" for i in range(300)],
        [f"a.b.c.d.e.{i}.weight" for i in range(5000)],
        ["weight"] * 3,
        ["conv1.weight", *[f"layer{a}.{b}.conv{c}.weight" for a in range(1, 5) for b in range(6) for c in (1, 2)]],
    ],
    ids=["deep", "flat", "alternating", "long", "same", "resnet"],
)
def test_there_are_never_more_than_eighteen_blocks(names: list[str]) -> None:
    assert len(blocks(names)) == len(names)
    assert 1 <= len(distinct(names)) <= 18


def test_no_names_have_no_blocks() -> None:
    assert blocks([]) == []


@pytest.mark.parametrize("count", [1, 2, 3, 10, 11])
def test_half_the_points_keep_every_spike_and_both_ends(count):
    x = [float(i) for i in range(count)]
    high = [5.0 if i == 4 else 1.0 for i in range(count)]
    low: list[float | None] = [None if i in (2, 3) else -1.0 for i in range(count)]
    half = halved(Series(name="a", x=x, y=list(x), low=low, high=high, role="flagged"))
    assert (half.x[0], half.x[-1], half.role) == (0.0, x[-1], "flagged")
    assert len(half.x) == len(half.y) == len(half.low) == len(half.high) <= count // 2 + 1
    assert max(half.high) == max(high)
    assert min(v for v in half.low if v is not None) == -1.0


def within(series: Series, values: numpy.ndarray) -> None:
    """The line stays in the range of the values of its bucket, or of its neighbours where that has few."""
    for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
        following = series.x[i + 1] if i + 1 < len(series.x) else len(values)
        near = values[max(0, int(x) - 6) : max(int(x) + 7, int(following))]
        assert near.min() * 0.999 <= y <= near.max() * 1.001, (x, y)


@pytest.mark.parametrize("count", [60, 400, 5000, 40_000])
@pytest.mark.parametrize("log", [None, True])
def test_a_spike_raises_the_line_nowhere_but_at_the_spike(count: int, log: bool | None) -> None:
    norms = numpy.random.default_rng(0).uniform(0.1, 0.2, count)
    norms[count // 2 : count // 2 + 5] = 1000.0
    within(banded("norm", numpy.arange(count), norms, log=log), norms)


def test_values_over_decades_are_smoothed_as_logarithms() -> None:
    norms = 10 ** numpy.where(numpy.arange(400) % 2, 0.0, 3.0)
    assert smooth(norms)[200] == pytest.approx(10**1.5, rel=0.5)


def test_zeros_of_a_log_axis_stay_zeros() -> None:
    norms = numpy.ones(100)
    norms[60:] = 0.0
    line = smooth(norms, log=True)
    assert set(line[60:]) == {0.0}
    assert numpy.allclose(line[:60], 1.0)


def test_a_loss_that_runs_away_ends_where_it_ended() -> None:
    loss = numpy.where(numpy.arange(100) < 50, numpy.exp(numpy.arange(100.0)), numpy.nan)
    assert smooth(loss)[49] == pytest.approx(loss[49])


def test_stretches_of_nan_are_told_with_their_first_and_last_step() -> None:
    loss = numpy.ones(100)
    loss[[20, 21, 22, 60]] = numpy.nan
    bad = numpy.isnan(loss)
    assert banded("train", numpy.arange(100), loss, bad=bad).bad == [(20, 22), (60, 60)]
    assert plain("train", numpy.arange(100), loss, bad=bad).bad == [(20, 22), (60, 60)]
    assert banded("train", numpy.arange(100), loss).bad == []
    assert halved(banded("train", numpy.arange(100), loss, bad=bad)).bad == [(20, 22), (60, 60)]
    thin = banded("train", numpy.arange(5000), numpy.where(numpy.arange(5000) == 4321, numpy.nan, 1.0),
                  bad=numpy.arange(5000) == 4321)  # fmt: skip
    assert thin.bad == [(4321, 4321)]


def test_values_that_differ_by_little_keep_their_differences() -> None:
    loss = 1.386 + 1e-4 * numpy.linspace(0, 1, 100)
    assert len(set(banded("train", numpy.arange(100), loss).high)) > 90
    assert len(set(plain("train", numpy.arange(100), loss).y)) > 90


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("count", [100, 300, 2000, 20_000])
def test_nothing_rises_before_a_jump(count: int, log: bool) -> None:
    at = count * 2 // 3
    level = numpy.where(numpy.arange(count) < at, 1.0, 40.0)
    values = level * numpy.random.default_rng(0).uniform(0.95, 1.05, count)
    line = smooth(values, log=log)
    assert line[at // 2 : at - 1].max() < 1.03, "the line before the jump is the mean of what was before it"
    assert line[at - 1] <= 1.05, "and its last point no higher than what was there"
    assert line[at:].min() > 38, "and after it, of what came after it"


@pytest.mark.parametrize("log", [False, True])
def test_one_step_leaves_no_trace_in_the_line(log: bool) -> None:
    calm = numpy.random.default_rng(0).uniform(0.95, 1.05, 300)
    spiked = numpy.where(numpy.arange(300) == 200, 30.0, calm)
    assert smooth(spiked, log=log) == pytest.approx(smooth(calm, log=log), abs=0.01)


def test_the_line_of_a_jump_that_fades_falls_from_its_first_step() -> None:
    steps = numpy.arange(300)
    fading = 1 + numpy.where(steps < 201, 0.0, 3 * numpy.exp(-(steps - 201) / 15))
    line = smooth(fading * numpy.random.default_rng(0).uniform(0.95, 1.05, 300))
    assert line[:201].max() < 1.05
    assert line[201:206].min() > 2.5


@given(st.lists(st.floats(-1e6, 1e6), min_size=9, max_size=900))
@settings(max_examples=40, deadline=None)
def test_the_line_never_leaves_the_range_of_the_steps_around_it(values: list[float]) -> None:
    line = smooth(numpy.asarray(values))
    for i, y in enumerate(line):
        near = values[max(0, i - 26) : i + 27]  # of the median and the two means
        slack = 1e-9 + 1e-9 * max(map(abs, near))
        assert min(near) - slack <= y <= max(near) + slack


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1, 0.3])
@pytest.mark.parametrize("slow", [5, 20])
@pytest.mark.parametrize("count", [200, 384, 1000])
def test_a_loss_that_falls_without_a_jump_has_a_line_without_one(count: int, slow: int, noise: float) -> None:
    """On a noisy slope the line's steps are those of the slope, give or take less than the noise of one value."""
    loss = 1.8 + 1.5 * numpy.exp(-slow * numpy.arange(count) / count)
    for seed in range(10):
        line = smooth(loss + noise * numpy.random.default_rng(seed).standard_normal(count))
        assert (numpy.abs(numpy.diff(line)) - numpy.abs(numpy.diff(loss)))[20:].max() < 0.7 * noise


@pytest.mark.parametrize("size", [0.5, 5.0])
def test_a_jump_on_a_slope_stays_a_jump(size: float) -> None:
    steps = numpy.arange(400)
    loss = 1.8 + 1.5 * numpy.exp(-steps / 100) + 0.03 * numpy.random.default_rng(0).standard_normal(400)
    line = smooth(loss + numpy.where(steps < 150, 0.0, size))
    assert line[150] - line[149] > 0.8 * size
    assert abs(line[149] - loss[140:150].mean()) < 0.06


def test_half_the_points_of_a_sparse_end_are_all_of_them() -> None:
    steps = numpy.asarray([*range(200), *range(256, 1000, 64)])
    assert {*map(float, range(256, 1000, 64))} <= set(halved(banded("norm", steps, numpy.ones(len(steps)))).x)


def test_a_line_without_a_band_has_both_its_ends() -> None:
    series = plain("distance", range(1000), numpy.linspace(0, 1, 1000))
    assert (series.x[0], series.y[0], series.x[-1], series.y[-1]) == (0, 0, 999, 1)


def test_a_spike_in_the_last_steps_is_kept_beside_the_last_value() -> None:
    series = plain("rate", range(1000), numpy.where(numpy.arange(1000) == 998, 9.0, 1.0))
    assert max(series.y) == 9.0
    assert series.y[-1] == 1.0


def test_points_far_from_each_other_are_not_averaged() -> None:
    steps = numpy.asarray([*range(200), *range(256, 1000, 64)])
    norms = numpy.where(steps < 200, 1.0, 10.0 ** (steps // 64 % 3))
    series = banded("norm", steps, norms, log=True)
    drawn = dict(zip(series.x, series.y, strict=True))
    assert [drawn[x] for x in (256.0, 320.0, 384.0)] == [10.0, 100.0, 1.0], "what was recorded"
    assert drawn[190.0] == pytest.approx(1.0), "and what lies before is not mixed with it"


def test_numbers_of_both_signs_at_the_end_of_the_range_have_digits():
    with numpy.errstate(over="ignore"):  # as the audit has it
        assert _digits(numpy.array([-1.7e308, 1.7e308])) == 4
