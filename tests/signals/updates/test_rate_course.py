import numpy
import pytest

from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.updates.rate_course import decayed_rate, gain_around, idle_rate, largest_rate, rate_course
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling


def training(path, rates, loss=None, **changes):
    steps = {"learning_rate": [list(each) for each in rates]}
    return build_run(path, loss=falling() if loss is None else loss, facts=TEN, steps=steps, **changes).trainings[0]


def test_the_largest_rate_is_over_the_groups_and_has_to_be_known(tmp_path):
    rates = numpy.random.default_rng(0).random((200, 2))
    one = training(tmp_path / "a", rates)
    assert largest_rate(one) == pytest.approx(rates.max(axis=1))
    course = rate_course(one, largest_rate(one))
    assert (course.groups, course.constant) == (2, False)
    assert course.top_step == rates.max(axis=1).argmax()
    assert largest_rate(training(tmp_path / "b", numpy.zeros((200, 1)))) is None
    rates[7] = numpy.nan
    assert largest_rate(training(tmp_path / "c", rates)) is None


def test_a_rate_has_decayed_where_it_stays_below_the_share():
    rate = numpy.concatenate([numpy.full(50, 1.0), [0.005], numpy.full(49, 0.5), numpy.full(100, 0.01)])
    assert decayed_rate(rate, 0.01) is None, "it came back"
    rate[50] = 0.5
    found = decayed_rate(rate, 0.01)
    assert (found.at, found.steps, found.peak, found.rate, found.previous) == (100, 200, 1.0, 0.01, 0.5)
    assert (found.share_of_peak, found.rest, found.at_once) == (0.01, 0.5, False)


def test_a_run_idles_where_the_rate_is_zero_and_nothing_moves(tmp_path):
    rates = [[1.0 if step < 120 else 0.0] for step in range(200)]
    still = {"update_norm": numpy.where(numpy.arange(200) < 120, 1e-3, 0.0)[:, None]}
    one = training(tmp_path / "a", rates, stats=still)
    found = idle_rate(one, largest_rate(one))
    assert (found.at, found.rest, found.at_once) == (120, pytest.approx(0.4), True)
    moving = training(tmp_path / "b", rates, stats={"update_norm": 1e-3})
    assert idle_rate(moving, largest_rate(moving)) is None


def test_the_gain_is_taken_before_and_after_a_step(tmp_path):
    loss = numpy.interp(numpy.arange(200), [0, 100, 199], [4.0, 2.0, 1.8])
    gain = gain_around(training_loss(training(tmp_path / "a", [[1.0]] * 200, loss)), 100)
    reached = numpy.median(loss[90:100])
    assert (gain.half, gain.step) == (50, 100)
    assert gain.before == pytest.approx((numpy.median(loss[50:60]) - reached) / 4)
    assert gain.after == pytest.approx((reached - numpy.median(loss[-10:])) / 4)
    near = gain_around(training_loss(training(tmp_path / "b", [[1.0]] * 200, loss)), 195)
    assert numpy.isnan([near.before, near.after]).all()
