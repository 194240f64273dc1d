import numpy
import pytest

from gradaudit.signals.loss.improvement import improvement
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling


def of(path, loss):
    return improvement(training_loss(build_run(path, loss=loss, facts=TEN).trainings[0]))


@pytest.mark.parametrize(("steps", "first", "last"), [(60, 5, 6), (200, 10, 20), (2000, 20, 200)])
def test_it_goes_from_the_median_of_the_first_steps_to_the_mean_of_the_last(tmp_path, steps, first, last):
    loss = falling(steps)
    found = of(tmp_path / "a", loss)
    assert (found.start_steps, found.last_steps) == (first, last)
    assert found.start == pytest.approx(numpy.median(loss[:first]))
    assert found.last == pytest.approx(loss[-last:].mean())
    assert found.share == pytest.approx(1 - loss[-last:].mean() / numpy.median(loss[:first]))


def test_a_start_that_is_not_positive_has_no_share(tmp_path):
    assert numpy.isnan(of(tmp_path / "a", -falling()).share)
