"""What no prediction can reach, against the best predictions that there are."""

import math

import numpy
import pytest

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.reach import reach_of


def facts(activation, mean, variance, over=0, **more):
    return LossFacts(
        id=0,
        activation=activation,
        softmax_over=over,
        target_mean=mean,
        target_variance=variance,
        **{"function": "mse_loss", **more},
    )


@pytest.mark.parametrize(("activation", "low", "high"), [("sigmoid", 0, 1), ("tanh", -1, 1), ("relu", 0, math.inf)])
@pytest.mark.parametrize(("mean", "spread"), [(45, 20), (0, 1), (-3, 0.1), (0.5, 0.1), (1.5, 2)])
def test_it_is_never_more_than_the_best_prediction_misses(activation, low, high, mean, spread):
    targets = numpy.random.default_rng(0).normal(mean, spread, 10_000)
    best = ((targets - targets.clip(low, high)) ** 2).mean()
    found = reach_of(facts(activation, targets.mean(), targets.var()))
    assert 0 <= found.missed <= best + 1e-9


def test_targets_far_outside_are_missed_by_their_distance():
    """Mean 45 and spread 20, from the interval between 0 and 1."""
    found = reach_of(facts("sigmoid", 45.0, 400.0))
    assert found.missed == pytest.approx((math.hypot(44.5, 20) - 0.5) ** 2)
    assert found.missed > found.variance


def test_zeros_and_ones_are_reached_exactly():
    assert reach_of(facts("sigmoid", 0.3, 0.21)).missed == pytest.approx(0, abs=1e-12)
    assert reach_of(facts("tanh", 0.0, 1.0)).missed == pytest.approx(0, abs=1e-12)


def test_rows_that_do_not_sum_to_one_are_missed_by_a_softmax():
    """Three labels of which 0.6 are right on average sum to 1.8."""
    found = reach_of(facts("softmax", 0.6, 0.24, over=3))
    assert found.missed == pytest.approx((0.6 - 1 / 3) ** 2 + (0.24**0.5 - (2 / 9) ** 0.5) ** 2)
    assert reach_of(facts("softmax", 0.25, 3 / 16, over=4)).missed == pytest.approx(0, abs=1e-12)


def test_the_variance_of_binary_labels_follows_from_their_mean():
    found = reach_of(facts("softmax", 0.6, None, over=3, function="binary_cross_entropy"))
    assert found.variance == pytest.approx(0.24)
    assert reach_of(facts("sigmoid", 0.6, None, function="binary_cross_entropy")) is None


@pytest.mark.parametrize(
    "more", [{"weighted": True}, {"target_trained": True}, {"broadcast": [[8, 1], [8]]}, {"reduction": "none"}]
)
def test_what_is_not_compared_number_by_number_is_not_judged(more):
    assert reach_of(facts("sigmoid", 45.0, 400.0, **more)) is None


def test_targets_of_which_some_outputs_are_sampled_are_not_summed():
    assert reach_of(facts("softmax", 5.0 / 1024, 5.0 / 1024, over=1024)) is None
