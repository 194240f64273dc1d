import numpy
import pytest

from gradaudit.signals.updates.fastest_tensor import fastest_tensor
from tests.build import build_run
from tests.diagnosers.runs import falling


def of(path, **stats):
    return fastest_tensor(build_run(path, loss=falling(), stats=stats).trainings[0])


def test_it_is_the_weight_with_the_largest_95th_percentile(tmp_path):
    update = numpy.random.default_rng(0).lognormal(-7, 1, (200, 8))
    update[:, 4] *= 10
    update[:, 5] *= 1000  # a bias, which is not judged
    found = of(tmp_path / "a", update_norm=update, weight_norm=2.0)
    assert found is not None
    assert found.name == "layers.2.weight"
    update = update.astype(numpy.float32)
    assert found.ratio == pytest.approx(
        numpy.quantile(update[:, 4] / 2, 0.95, method="averaged_inverted_cdf"), rel=1e-5
    )
    assert found.ratios == pytest.approx(update[:, ::2].max(axis=1) / 2, rel=1e-5)
    assert found.steps.tolist() == list(range(200))


def test_a_step_without_a_number_is_passed_over(tmp_path):
    update = numpy.full((200, 8), 1e-3)
    update[7] = numpy.nan
    found = of(tmp_path / "a", update_norm=update)
    assert found is not None
    assert found.ratio == pytest.approx(1e-3)
    assert found.ratios[7] == -numpy.inf


def test_there_is_none_without_finite_updates(tmp_path):
    assert of(tmp_path / "a", update_norm=numpy.nan) is None
