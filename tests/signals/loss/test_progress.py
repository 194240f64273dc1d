"""Whether training gets anywhere, on curves whose course is known."""

import math
from dataclasses import replace

import numpy
import pytest

from gradaudit.schema import DataFacts, LossFacts
from gradaudit.signals.loss.progress import (
    constant_level,
    divergence,
    epochs,
    learned_nothing,
    loss_rebound,
    nearly_done,
    not_learning,
    other_scale,
    smoothing_window,
    start_level,
)
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat
from tests.signals.two_optimizers import two_optimizers

NAN = math.nan
SQUARES = LossFacts(id=0, function="mse_loss", target_variance=1.0)
LOGGED = LossFacts(id=0, function="logged")


def of(path, loss, facts=TEN, thresholds=None, **changes):
    run = build_run(path, loss=loss, facts=facts, **changes)
    return replace(run, thresholds=thresholds or {}).trainings[0]


def tolerant(doubled=2.0):
    """What the user set for `divergence`, so that only the doubling counts."""
    return {"divergence.doubled": doubled, "divergence.worse": 9.0}


def risen(level, at=60):
    loss = falling()
    loss[at:] = level
    return loss


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_it_diverges_where_a_median_of_five_has_doubled(tmp_path, scale):
    start = float(scale * falling()[0])
    facts = LossFacts(id=0, function="mse_loss", target_variance=0.5 * start)
    assert divergence(of(tmp_path / "a", scale * risen(9.0), facts)) == 62
    assert divergence(of(tmp_path / "b", scale * risen(9.0), facts, tolerant(9.1 / falling()[0]))) is None


def test_a_constant_above_the_start_is_what_it_must_double(tmp_path):
    high = LossFacts(id=0, function="mse_loss", target_variance=5.0)
    loss = risen(9.0)
    assert divergence(of(tmp_path / "a", loss, high, tolerant())) is None
    assert divergence(of(tmp_path / "b", loss, high, tolerant(1.7))) == 62


def test_a_rise_of_a_fifth_at_the_end_counts_beyond_its_noise(tmp_path):
    assert divergence(of(tmp_path / "a", risen(2.8))) == 62
    noisy = risen(2.8) * (1 + 0.3 * numpy.random.default_rng(0).standard_normal(200))
    noisy[:20] = falling()[:20] * (1 + 0.3 * numpy.random.default_rng(1).standard_normal(20))
    noisy[0] = 2.3
    assert divergence(of(tmp_path / "b", noisy)) is None


@pytest.mark.parametrize(
    ("loss", "facts"),
    [(falling(), TEN), (flat(), TEN), (risen(9.0), LOGGED), (-risen(9.0), SQUARES), (risen(9.0)[:4], TEN),
     (numpy.concatenate([risen(9.0), falling()]), TEN), (numpy.full(200, NAN), TEN), (numpy.zeros(200), SQUARES)],
)  # fmt: skip
def test_a_loss_that_falls_stays_comes_back_or_means_nothing_does_not(tmp_path, loss, facts):
    assert divergence(of(tmp_path / "a", loss, facts)) is None


def test_a_noisy_batch_of_one_does_not(tmp_path):
    loss = numpy.random.default_rng(0).chisquare(1, 300)
    loss[0] = 1e-3
    assert divergence(of(tmp_path / "a", loss, SQUARES, steps={"targets": 1})) is None


def test_one_of_two_trainings(tmp_path):
    run = two_optimizers(tmp_path / "a", falling(), risen(9.0), "cross_entropy")
    assert [divergence(training) for training in run.trainings] == [None, 125]


@pytest.mark.parametrize(
    ("level", "learns"), [(math.log(10), False), (0.97 * math.log(10), True), (2 * math.log(10), False)]
)
def test_it_learns_nothing_at_the_loss_of_a_constant(tmp_path, level, learns):
    """Of even labels in ten classes that is ln 10."""
    training = of(tmp_path / "a", flat(level=level, noise=0.0))
    assert constant_level(training_loss(training)) == pytest.approx(math.log(10))
    assert not_learning(training) is not learns
    assert learned_nothing(training), "a loss that ends where it began"


@pytest.mark.parametrize(
    ("loss", "facts"),
    [(flat(99), TEN), (falling(), TEN), (flat(), LossFacts(id=0, function="huber_loss")), (flat(), LOGGED),
     (numpy.linspace(5, 2.4, 200), TEN), (numpy.full(200, NAN), TEN)],
)  # fmt: skip
def test_that_is_not_known_of_short_unknown_or_falling_losses(tmp_path, loss, facts):
    assert not not_learning(of(tmp_path / "a", loss, facts))


def test_a_loss_far_above_a_constant_that_falls_is_on_another_scale(tmp_path):
    assert other_scale(training_loss(of(tmp_path / "a", numpy.linspace(30, 4, 200))))
    assert not other_scale(training_loss(of(tmp_path / "b", numpy.linspace(30, 25, 200))))
    assert not other_scale(training_loss(of(tmp_path / "c", numpy.linspace(30, 0.5, 200))))


@pytest.mark.parametrize(("targets", "window"), [(1, 32), (3, 11), (7, 5), (8, 5), (1000, 5), (0, 5)])
def test_the_window_covers_as_many_targets(tmp_path, targets, window):
    assert smoothing_window(training_loss(of(tmp_path / "a", falling(), steps={"targets": targets}))) == window


@pytest.mark.parametrize(("targets", "start"), [(8, 1.0), (7, 3.0), (1, 3.0)])
def test_the_first_loss_of_few_targets_is_at_least_a_median_of_five(tmp_path, targets, start):
    loss = numpy.asarray([1.0, 3.0, 3.0, 9.0, 3.0, 0.1])
    assert start_level(training_loss(of(tmp_path / "a", loss, steps={"targets": targets}))) == start


@pytest.mark.parametrize(
    ("batches", "passes"), [(50, 8.0), (800, 0.5), (0, NAN), (10**8, NAN), (10**8 - 1, 400 / (10**8 - 1))]
)
def test_epochs_are_batches_over_those_of_one(tmp_path, batches, passes):
    data = DataFacts(batches_per_epoch=batches)
    found = epochs(of(tmp_path / "a", falling(100), data=data, steps={"micro_steps": 4}))
    assert found == pytest.approx(passes, nan_ok=True)


def test_a_rebound_is_what_the_last_tenth_has_lost_of_the_gain(tmp_path):
    loss = numpy.concatenate([numpy.linspace(2, 1, 100), numpy.linspace(1, 1.5, 100)])
    found = loss_rebound(training_loss(of(tmp_path / "a", loss)))
    tenths = numpy.split(loss, 10)
    middles = [numpy.median(tenth) for tenth in tenths]
    best = int(numpy.argmin(middles[:-1]))
    assert (found.index, found.until) == (20 * best, 20 * best + 20)
    assert (found.best, found.last) == (pytest.approx(middles[best]), pytest.approx(middles[-1]))
    assert found.gained == pytest.approx((2 - middles[best]) / 2)
    assert found.lost == pytest.approx((middles[-1] - middles[best]) / (2 - middles[best]))
    noise = math.sqrt(sum(tenth.var() / 20 for tenth in (tenths[best], tenths[-1])))
    assert found.errors == pytest.approx((tenths[-1].mean() - tenths[best].mean()) / noise)


def test_without_noise_a_rise_is_certain_and_without_a_gain_there_is_none(tmp_path):
    steps = numpy.repeat([2.0, 1.0, 1.5], [20, 80, 100])
    assert loss_rebound(training_loss(of(tmp_path / "a", steps))).errors == math.inf
    for number, loss in enumerate((numpy.linspace(1, 2, 200), -falling(), numpy.full(200, NAN))):
        assert loss_rebound(training_loss(of(tmp_path / str(number), loss))) is None


@pytest.mark.parametrize(("left", "done"), [(0.2, True), (0.05, False)])
def test_little_left_of_the_first_loss_is_nearly_done(tmp_path, left, done):
    loss = training_loss(of(tmp_path / "a", numpy.concatenate([[2.0], numpy.full(199, 0.2)])))
    assert nearly_done(loss, left) is done
    assert not nearly_done(training_loss(of(tmp_path / "b", falling(), LOGGED)), 1.0)
    assert not nearly_done(training_loss(of(tmp_path / "c", numpy.linspace(1, -1, 200), SQUARES)), 1.0)
