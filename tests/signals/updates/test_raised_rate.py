import numpy
import pytest

from gradaudit.signals.updates.raised_rate import LowClipping, raised_rate
from tests.build import build_run
from tests.diagnosers.runs import falling


def of(path, ratio, **changes):
    return raised_rate(build_run(path, loss=falling(), **changes).trainings[0], ratio)


@pytest.mark.parametrize(("ratio", "times"), [(2e-3, 10), (3e-5, 100), (1e-5, 100), (3e-9, 1000), (0.0, 1000)])
def test_it_is_raised_by_powers_of_ten_towards_the_usual_ratio(tmp_path, ratio, times):
    found = of(tmp_path / "a", ratio)
    assert found.raised == pytest.approx(1e-3 * times)
    assert found.clipping is None


@pytest.mark.parametrize(("rate", "why"), [(0.0, "rate zero"), (numpy.nan, "rate unknown"), (1e-3, "rate too low")])
def test_a_rate_that_is_zero_or_unknown_is_told_apart(tmp_path, rate, why):
    assert of(tmp_path / "a", 1e-5, steps={"learning_rate": [[rate]] * 200}).why == why


def test_weights_that_never_change_belong_to_another_model(tmp_path):
    assert of(tmp_path / "a", 0.0).why == "other parameters"
    small = {"learning_rate": [[1e-12]] * 200}
    assert of(tmp_path / "b", 0.0, steps=small).why == "rate too low", "the update is lost in rounding"


def test_a_low_threshold_matters_where_the_optimizer_does_not_divide_it_out(tmp_path):
    steps = {"gradient_norm": 20.0, "clip_threshold": 1.0, "clip_kind": 1}
    assert of(tmp_path / "a", 1e-5, steps=steps, optimizer="SGD").clipping == LowClipping(1.0, 20.0, False)
    assert of(tmp_path / "b", 1e-5, steps=steps, optimizer="AdamW").clipping is None
    near = {**steps, "gradient_norm": 4.0}
    assert of(tmp_path / "c", 1e-5, steps=near, optimizer="SGD").clipping is None
