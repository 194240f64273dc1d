import numpy
import pytest

from gradaudit.signals.updates.rate_jumps import harmful_jump
from tests.build import build_run
from tests.diagnosers.runs import TEN


def training(path, rates, loss):
    return build_run(path, loss=loss, facts=TEN, steps={"learning_rate": rates}).trainings[0]


def test_the_jump_that_raises_the_loss_most_is_found_and_all_are_listed(tmp_path):
    loss = numpy.full(200, 2.0)
    loss[50:80], loss[120:160] = 2.5, 3.0
    rates = [[1e-3, 0.02 if 50 <= step < 80 else 0.05 if 120 <= step < 160 else 0.01] for step in range(200)]
    found = harmful_jump(training(tmp_path, rates, loss), risen=1.5, gain=0.02)
    assert (found.step, found.jumps, found.last) == (120, (50, 120), 120)
    assert (found.old, found.new, found.times) == pytest.approx((0.01, 0.05, 5.0))
    assert found.rise == pytest.approx(0.5)
    assert (found.back, found.for_once) == (None, False)


def test_a_loss_that_never_comes_back_is_harmed_to_the_end(tmp_path):
    loss = numpy.where(numpy.arange(200) < 100, 2.0, 3.0)
    rates = [[0.1 if step in (100, 101) else 0.001] for step in range(200)]
    found = harmful_jump(training(tmp_path, rates, loss), risen=3.0, gain=0.02)
    assert (found.back, found.for_once) == ((102, pytest.approx(0.001)), True)
    assert found.last == 199


def test_a_loss_that_does_not_rise_more_than_batches_differ_is_not_harmed(tmp_path):
    loss = 2.0 + 0.5 * numpy.random.default_rng(0).standard_normal(200)
    loss[100:] += 0.05
    rates = [[0.1 if step >= 100 else 0.001] for step in range(200)]
    assert harmful_jump(training(tmp_path, rates, loss), risen=3.0, gain=0.02) is None
