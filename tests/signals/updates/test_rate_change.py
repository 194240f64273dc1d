import numpy
import pytest

from gradaudit.signals.updates.rate_change import rate_change
from tests.build import build_run
from tests.diagnosers.runs import falling


def of(path, rates):
    run = build_run(path, loss=falling(len(rates)), steps={"learning_rate": [[rate] for rate in rates]})
    return run.trainings[0]


def test_a_constant_rate_is_steady(tmp_path):
    found = rate_change(of(tmp_path / "a", [1e-3] * 40), 10)
    assert (found.steady, found.raised, found.times) == (True, False, 1.0)


def test_only_what_follows_the_step_counts(tmp_path):
    training = of(tmp_path / "a", [1e-4] * 20 + [1e-3] * 20)
    assert rate_change(training, 20).steady
    found = rate_change(training, 10)
    assert (found.steady, found.raised, found.times) == (False, True, pytest.approx(10))
    assert (found.then, found.now) == (pytest.approx(1e-4), pytest.approx(1e-3))


def test_a_rate_of_zero_has_no_factor(tmp_path):
    found = rate_change(of(tmp_path / "a", [0.0] * 20 + [1e-3] * 20), 0)
    assert found.raised
    assert numpy.isnan(found.times)


def test_unknown_rates_are_steady_and_not_raised(tmp_path):
    found = rate_change(of(tmp_path / "a", [numpy.nan] * 40), 0)
    assert (found.steady, found.raised) == (True, False)
    assert numpy.isnan(found.times)
