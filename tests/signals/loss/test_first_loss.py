import pytest

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.first_loss import ObjectiveFactor, classes_used, objective_factor, unevenness
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling


def of(path, times, **steps):
    columns = {"objective": times * falling(), **steps}
    return objective_factor(training_loss(build_run(path, loss=falling(), facts=TEN, steps=columns).trainings[0]))


@pytest.mark.parametrize(
    ("times", "steps", "expected"),
    [
        (32, {}, ObjectiveFactor(pytest.approx(32), 32, "targets")),
        (32, {"targets": 512}, ObjectiveFactor(pytest.approx(32), 32, "batch")),
        (4, {"micro_steps": 4}, ObjectiveFactor(pytest.approx(4), 4, "micro_steps")),
        (1, {}, None),
        (7, {}, None),
    ],
)
def test_a_factor_is_what_is_known_of_the_step(tmp_path, times, steps, expected):
    assert of(tmp_path / "a", times, **steps) == expected


@pytest.mark.parametrize(
    ("counts", "used"), [([5, 5, 5] + [0] * 17, 3), ([5] * 10, 0), ([5, 0, 5] + [0] * 17, 0), ([9] + [0] * 9, 0)]
)
def test_classes_that_occur_are_the_first_few_of_twice_as_many(counts, used):
    assert classes_used(LossFacts(id=0, function="cross_entropy", label_counts=counts), 100) == used


def test_a_vocabulary_may_be_unused():
    assert classes_used(LossFacts(id=0, function="cross_entropy", label_counts=[5, 5, 5] + [0] * 17), 19) == 0


@pytest.mark.parametrize(
    ("counts", "expected"), [([10, 10], 0.0), ([10, 0], 1.0), ([75, 25], 0.5), ([60, 20, 20], 0.4), ([], 0.0)]
)
def test_unevenness_goes_from_an_even_share_to_one_class(counts, expected):
    assert unevenness(LossFacts(id=0, function="cross_entropy", label_counts=counts)) == pytest.approx(expected)
