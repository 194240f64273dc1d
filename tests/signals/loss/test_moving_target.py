"""Whether the targets of a regression stay what they are, by the parts of a training."""

import math

import numpy
import pytest

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.moving_target import Movement, movement, target_growth


def regression(parts=(), trained=False):
    return LossFacts(id=0, function="mse_loss", target_variance=1.0, target_parts=list(parts), target_trained=trained)


def parts(means, spreads=None, calls=20, scatter=0.3, number=16):
    means = numpy.broadcast_to(means, number)
    spreads = numpy.broadcast_to(1.0 if spreads is None else spreads, number)
    return [[calls, float(m), scatter, float(s), 0.1] for m, s in zip(means, spreads, strict=True)]


def test_targets_that_stay_do_not_move():
    random = numpy.random.default_rng(0)
    assert movement(regression()) is None
    assert movement(regression(parts(5.0))) is None
    assert movement(regression(parts(5 + 0.3 / math.sqrt(20) * random.standard_normal(16)))) is None


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_mean_that_drifts_is_told(scale):
    means = numpy.linspace(1, 15, 16)
    found = movement(regression([[20, scale * m, scale * 0.3, scale, scale * 0.1] for m in means]))
    first, last = (scale * quarter.mean() for quarter in (means[:4], means[-4:]))
    assert found == Movement("mean", pytest.approx(first), pytest.approx(last))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_targets_grow_by_their_root_mean_square(scale):
    means, spreads = numpy.linspace(1, 15, 16), numpy.linspace(0.5, 2, 16)
    facts = regression([[20, scale * m, scale * 0.3, scale * s, scale * 0.1] for m, s in zip(means, spreads,
                                                                                          strict=True)])  # fmt: skip
    first, last = (numpy.hypot(means[some].mean(), spreads[some].mean()) for some in (slice(4), slice(-4, None)))
    assert target_growth(facts) == pytest.approx(last / first)


def test_targets_that_shrink_stay_or_are_not_known_have_not_grown():
    assert target_growth(None) == target_growth(regression()) == 1
    assert target_growth(regression(parts(numpy.linspace(15, 1, 16)))) == 1
    assert target_growth(regression(parts(5.0))) == 1
    assert target_growth(regression(parts(0.0, numpy.concatenate([numpy.zeros(8), numpy.ones(8)])))) == 1


def test_a_mean_that_rises_and_falls_again_has_moved_too():
    assert (
        movement(regression(parts(numpy.concatenate([numpy.linspace(0, 9, 8), numpy.linspace(9, 0, 8)])))) is not None
    )


def test_a_spread_that_grows_is_told():
    spreads = numpy.linspace(0.5, 4, 16)
    found = movement(regression(parts(0.0, spreads)))
    assert found == Movement("spread", pytest.approx(spreads[:4].mean()), pytest.approx(spreads[-4:].mean()))


def test_a_small_drift_few_calls_and_heavy_tails_say_nothing():
    assert movement(regression(parts(numpy.linspace(0, 0.3, 16)))) is None
    assert movement(regression(parts(numpy.linspace(0, 9, 3), number=3))) is None
    assert movement(regression(parts(numpy.linspace(0, 9, 4), number=4, calls=2))) is None
    assert movement(regression(parts(numpy.linspace(0, 3, 16), scatter=20.0, calls=4))) is None


def test_what_is_trained_moves():
    assert movement(regression(trained=True)) == Movement("trained")


def test_targets_of_batches_of_one_have_no_spread_and_may_move():
    still = [[50, 1.0, 0.9, 0.0, 0.0] for _ in range(16)]
    drifting = [[50, float(mean), 0.9, 0.0, 0.0] for mean in numpy.linspace(0, 9, 16)]
    assert movement(regression(still)) is None
    assert movement(regression(drifting)) is not None


def test_quarters_of_unequal_calls_are_weighed_by_calls():
    """One part of a quarter with 300 calls at 9 and three with 100 at 1: the quarter's mean is 5."""
    heavy = [[300, 9.0, 0.1, 1.0, 0.1], *[[100, 1.0, 0.1, 1.0, 0.1]] * 3]
    found = movement(regression([*parts(1.0, calls=100, scatter=0.1, number=12), *heavy]))
    assert found == Movement("mean", pytest.approx(1.0), pytest.approx(5.0))
