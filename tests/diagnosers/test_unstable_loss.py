import msgspec
import numpy
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.unstable_loss import Diverges, NotFinite, Oscillating, Rebound, Steady, unstable_loss
from gradaudit.findings import Severity
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_weights import climbing, swinging
from tests.diagnosers.verbs import (
    assert_clean,
    assert_finds,
    assert_not_applicable,
    assert_skipped,
    judged,
)


def test_a_loss_that_falls_is_quiet(tmp_path):
    run = healthy(tmp_path)
    assert judged(unstable_loss, run, Steady).growth < 2
    assert "times as widely" in assert_clean(unstable_loss, run)


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_one_size_is_quiet(tmp_path, seed):
    loss = 1.2 + 0.3 * numpy.random.default_rng(seed).standard_normal(400)
    assert_clean(unstable_loss, build_run(tmp_path / "a", loss=loss, facts=TEN))


def test_noise_that_grows_while_the_loss_falls_is_quiet(tmp_path):
    """The losses of a confident model differ more from batch to batch."""
    assert_clean(unstable_loss, swinging(tmp_path / "a", drop=0.5))


def test_small_swings_are_quiet(tmp_path):
    assert_clean(unstable_loss, swinging(tmp_path / "a", width=0.05))


def test_one_wide_swing_is_a_slope_or_a_spike(tmp_path):
    assert_clean(unstable_loss, swinging(tmp_path / "a", period=150))


def test_a_burst_at_the_end_is_no_trend(tmp_path):
    loss = flat(400, 1.2)
    loss[350:] += numpy.where(numpy.arange(50) % 2, 0.5, -0.5)
    assert_clean(unstable_loss, build_run(tmp_path / "a", loss=loss, facts=TEN))


def test_what_diverged_or_broke_is_left_to_others(tmp_path):
    diverging = swinging(tmp_path / "a", width=20.0)
    assert judged(unstable_loss, diverging, Diverges)
    assert_not_applicable(unstable_loss, diverging)
    broken = swinging(tmp_path / "b").steps["mean_loss"].to_numpy().copy()
    broken[-1] = numpy.nan
    run = build_run(tmp_path / "c", loss=broken, facts=TEN)
    assert judged(unstable_loss, run, NotFinite)
    assert_not_applicable(unstable_loss, run)


def test_losses_that_swing_by_nature_are_not_judged(tmp_path):
    logged = msgspec.structs.replace(TEN, function="logged")
    assert_not_applicable(unstable_loss, swinging(tmp_path / "a", facts=logged))


RISING = [
    (step, "validation", value)
    for step, value in zip(range(0, 400, 50), [2.3, 1.5, 1, 0.6, 0.5, 0.7, 0.9, 1], strict=True)
]
FALLING = [
    (step, "validation", value) for step, value in zip(range(0, 400, 50), numpy.geomspace(2.3, 0.4, 8), strict=True)
]


def test_a_loss_that_climbs_back_alone_is_a_note(tmp_path):
    """The error of a value function rises with the values, and that of harder data with the data."""
    alone = climbing(tmp_path / "a")
    found = judged(unstable_loss, alone, Rebound)
    assert found.rates.steady
    assert 200 <= found.best_until < 300
    assert numpy.isnan(found.held_out)
    assert_finds(unstable_loss, alone, Severity.NOTE)
    falls = climbing(tmp_path / "b", evaluations=FALLING)
    assert not judged(unstable_loss, falls, Rebound).held_out_rebounds
    assert_finds(unstable_loss, falls, Severity.NOTE)


def test_a_rate_that_was_raised_is_why_the_loss_climbs_back(tmp_path):
    steps = {"learning_rate": [[1e-3 if step < 300 else 1e-2] for step in range(400)]}
    run = climbing(tmp_path / "a", evaluations=RISING, steps=steps)
    found = judged(unstable_loss, run, Rebound)
    assert found.held_out_rebounds
    assert (found.rates.raised, found.rates.steady) == (True, False)
    assert (found.rates.then, found.rates.now) == (pytest.approx(1e-3), pytest.approx(1e-2))
    assert_finds(unstable_loss, run, Severity.NOTE)


def test_a_loss_that_climbs_back_with_the_held_out_one_is_a_warning(tmp_path):
    run = climbing(tmp_path / "a", evaluations=RISING)
    found = judged(unstable_loss, run, Rebound)
    assert found.rebound.best < 0.6 < 0.9 < found.rebound.last
    assert found.held_out == pytest.approx((0.95 - 0.5) / (2.3 - 0.5))
    finding = assert_finds(unstable_loss, run, Severity.WARNING)
    assert finding.title == f"Loss rebound from step {found.best_until}"
    assert finding.headline.startswith("The loss rebounds from 0.")
    assert finding.measures[0].value >= 0.15
    assert 200 <= finding.span.first <= 240
    assert finding.span.last == 399


def test_a_small_climb_and_one_within_the_noise_are_quiet(tmp_path):
    assert_clean(unstable_loss, climbing(tmp_path / "a", height=0.2))
    assert_clean(unstable_loss, climbing(tmp_path / "b", noise=1.5))


def test_a_loss_that_hardly_fell_cannot_climb_back(tmp_path):
    loss = numpy.interp(numpy.arange(400), [0, 200, 399], [2.3, 2.15, 2.28]) + 0.01 * flat(400)
    assert_clean(unstable_loss, build_run(tmp_path / "a", loss=loss, facts=TEN))


def test_short_runs_cannot_be_judged(tmp_path):
    assert_skipped(unstable_loss, build_run(tmp_path / "a", loss=falling(199)))


@pytest.mark.parametrize("period", [2, 7, 20])
def test_swings_that_grow_are_a_note(tmp_path, period):
    run = swinging(tmp_path / "a", period=period)
    found = judged(unstable_loss, run, Oscillating)
    assert found.oscillation.growth >= 2
    assert found.lower == pytest.approx(1e-3 / 3)
    finding = assert_finds(unstable_loss, run, Severity.NOTE)
    assert 80 < finding.span.first == found.since < 300
    assert finding.title == f"Oscillating loss from step {finding.span.first}"
    assert "a third of what it is at step" in finding.actions[0].text


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_scale_of_the_loss_does_not_matter(tmp_path, scale):
    loss = scale * swinging(tmp_path / "a").steps["mean_loss"].to_numpy()
    facts = msgspec.structs.replace(TEN, function="l1_loss", classes=0)
    assert_finds(unstable_loss, build_run(tmp_path / "b", loss=loss, facts=facts), Severity.NOTE)


def test_a_rate_that_was_raised_is_in_the_table_as_what_leaves_it_a_note(tmp_path):
    steps = {"learning_rate": [[1e-3 if step < 300 else 1e-2] for step in range(400)]}
    finding = assert_finds(unstable_loss, climbing(tmp_path / "a", evaluations=RISING, steps=steps), Severity.NOTE)
    raised = finding.measures[-1]
    assert raised.value == pytest.approx(10)
    assert (raised.comparison, raised.threshold, raised.decides) == (">", 1, "note")


def test_a_schedule_that_raises_the_rate_is_the_root_of_all_with_one_advice(tmp_path):
    steps = {"learning_rate": [[1e-3 * (step + 1)] for step in range(400)]}
    run = climbing(tmp_path / "a", evaluations=RISING, steps=steps)
    root = analyze(run).ranked[0]
    assert root.diagnoser == "learning_rate_schedule"
    below = next(item.finding for item in root.consequences if item.diagnoser == "unstable_loss")
    assert below.actions[0] == root.finding.actions[0]
