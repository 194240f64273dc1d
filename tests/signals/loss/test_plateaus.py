"""Where a loss stops falling, against curves whose corners are known."""

import math
from dataclasses import replace

import numpy
import pytest

from gradaudit.signals.loss.plateaus import (
    UNFINISHED,
    decayed_too_early,
    hardly_begun,
    plateau,
    still_falling,
    stopped_by_decay,
    unfinished_share,
)
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling

STEPS = 400


def of(path, loss, rates=None, norms=1.0):
    rates = numpy.full(len(loss), 1e-3) if rates is None else rates
    steps = {"learning_rate": numpy.reshape(rates, (len(loss), -1)).tolist(), "gradient_norm": norms}
    return build_run(path, loss=loss, facts=TEN, steps=steps).trainings[0]


def corner(at, first=2.0, level=1.0, noise=0.0):
    """It falls in a line to step `at`, and stays."""
    curve = numpy.interp(numpy.arange(STEPS), [0, at], [first, level])
    return curve * (1 + noise * numpy.random.default_rng(0).standard_normal(STEPS))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("at", [100, 250])
def test_a_plateau_starts_where_the_loss_is_within_the_limit(tmp_path, scale, at):
    found = plateau(of(tmp_path / "a", scale * corner(at)), 0.02)
    start = numpy.median(corner(at)[:3])
    expected = int(numpy.flatnonzero(corner(at) / start > 1 / start + 0.02)[-1]) + 1
    assert found.start == pytest.approx(expected, abs=1)
    assert found.level == pytest.approx(1 / start)
    half = corner(at)[found.start // 2] - corner(at)[found.start]
    assert found.fell == pytest.approx(half / start, rel=1e-3)


def test_the_gradient_and_the_rate_on_it(tmp_path):
    steps = numpy.arange(STEPS)
    rates, norms = numpy.where(steps < 90, 1e-2, 1e-3), 10.0 - steps / 50
    found = plateau(of(tmp_path / "a", corner(100), numpy.column_stack([rates, rates / 2]), norms), 0.02)
    before = numpy.median(norms[found.start // 2 : found.start])
    assert (found.gradient, found.rate) == (pytest.approx(numpy.median(norms[-80:]) / before), pytest.approx(0.1))
    unknown = plateau(of(tmp_path / "b", corner(100), numpy.full(STEPS, math.nan), math.nan), 0.02)
    assert math.isnan(unknown.gradient)
    assert math.isnan(unknown.rate)


@pytest.mark.parametrize(
    "loss",
    [corner(100)[:99], numpy.linspace(2, 1, STEPS), numpy.ones(STEPS), -corner(100), numpy.zeros(STEPS),
     numpy.where(numpy.arange(STEPS) == 300, math.nan, corner(100))],
)  # fmt: skip
def test_a_loss_that_still_falls_or_never_did_has_none(tmp_path, loss):
    assert plateau(of(tmp_path / "a", loss), 0.02) is None


def decay(at, to=1e-6):
    """A rate that is spent at step `at`."""
    return numpy.where(numpy.arange(STEPS) < at, 1e-3, 1e-3 * to)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_rate_that_is_gone_and_what_the_loss_did_till_then(tmp_path, scale):
    loss = scale * corner(100, level=1.5, noise=1e-3)
    found = decayed_too_early(of(tmp_path / "a", loss, decay(100)), 0.01)
    assert (found.start, found.half) == (100, 49)
    first, then, early, late = (numpy.median(part) for part in (loss[:10], loss[39:59], loss[100:250], loss[250:]))
    assert (found.then, found.reached) == (pytest.approx(then), pytest.approx(early))
    assert found.level == pytest.approx(late / first)
    assert found.gained == pytest.approx((first - late) / first)
    assert found.fell == pytest.approx((then - early) / first)
    assert found.after == pytest.approx((early - late) / first)
    assert found.worth == pytest.approx((100 + 300e-6) / STEPS, rel=1e-4)
    # Of a median of 150 and one of 20 normal values.
    assert found.noise == pytest.approx(1.25 * 1.5e-3 / 2 * math.sqrt(1 / 20 + 1 / 150), rel=0.1)


@pytest.mark.parametrize(("rates", "shape"), [("exponential", 0.21), ("linear", 0.5), ("cosine", 0.5)])
def test_what_the_steps_are_worth_under_usual_schedules(tmp_path, rates, shape):
    place = numpy.arange(STEPS) / STEPS
    curves = {"exponential": 0.01**place, "linear": 1 - place, "cosine": (1 + numpy.cos(numpy.pi * place)) / 2}
    found = decayed_too_early(of(tmp_path / "a", falling(STEPS), curves[rates]), 0.05)
    assert found.worth == pytest.approx(shape, abs=0.01)


@pytest.mark.parametrize(
    "rates", [numpy.full(STEPS, 1e-3), decay(9), decay(392), numpy.full(STEPS, math.nan), numpy.zeros(STEPS)]
)
def test_a_rate_that_lasts_or_is_not_known_is_not_gone(tmp_path, rates):
    assert decayed_too_early(of(tmp_path / "a", corner(100), rates), 0.01) is None


def test_one_wrong_step_is_no_peak(tmp_path):
    rates = decay(100)
    rates[50] *= 1000
    assert decayed_too_early(of(tmp_path / "a", corner(100), rates), 0.01).start == 100


@pytest.mark.parametrize(
    ("loss", "rates", "told"),
    [
        (corner(100, level=1.5), decay(100), True),  # it would go on falling
        (corner(100, level=0.2), decay(100), False),  # little is left
        (corner(30, level=1.5), decay(100), False),  # it had stopped before
        (corner(300, level=1.0), decay(300), False),  # late
        (corner(100, level=1.5), None, False),
    ],
)
def test_a_loss_that_the_rate_has_stopped(tmp_path, loss, rates, told):
    assert (stopped_by_decay(of(tmp_path / "a", loss, rates)) is not None) is told


def test_a_small_gain_is_still_falling_beyond_its_noise_and_a_third_of_itself(tmp_path):
    found = decayed_too_early(of(tmp_path / "a", corner(100, level=1.9), decay(100)), 0.01)
    assert still_falling(found) == pytest.approx(0.3 * found.gained)
    noisy = decayed_too_early(of(tmp_path / "b", corner(100, level=1.9, noise=0.2), decay(100)), 0.01)
    assert still_falling(noisy) == pytest.approx(2 * noisy.noise)
    assert not hardly_begun(found, UNFINISHED)
    late = numpy.interp(numpy.arange(STEPS), [0, 200, 300], [2.0, 2.0, 1.9])
    short = decayed_too_early(of(tmp_path / "c", late, decay(20)), 0.01)
    assert hardly_begun(short, UNFINISHED)
    assert not hardly_begun(short, 0.9 * short.gained)


def test_what_is_unfinished_is_for_the_user_to_say(tmp_path):
    run = of(tmp_path / "a", corner(100, level=1.5), decay(100)).run
    assert unfinished_share(run) == UNFINISHED
    assert unfinished_share(replace(run, thresholds={"premature_plateau.unfinished": 0.9})) == 0.9
