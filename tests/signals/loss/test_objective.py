"""What a loss is to the objective."""

import math

import numpy
import pytest

from gradaudit.signals.loss.objective import MOSTLY, SAME, factor
from gradaudit.signals.loss.training_loss import Unclear, training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling

SIZES = numpy.where(numpy.arange(200) % 29 == 28, 2, 50)


def factor_of(path, objective, sizes=SIZES, targets=None):
    steps = {"objective": objective, "batch_size": sizes, "targets": sizes if targets is None else targets}
    run = build_run(path, loss=falling(), facts=TEN, steps=steps)
    return factor(run.steps, falling())


@pytest.mark.parametrize(
    ("times", "unit"),
    [(1.0, "1"), (0.3, "1"), (SIZES, "targets"), (1 / SIZES, "1 / targets"), (4 / SIZES, "1 / targets")],
)
def test_the_unit_in_which_the_objective_follows_the_loss(tmp_path, times, unit):
    found = factor_of(tmp_path / "a", times * falling())
    assert found.unit == unit
    assert found.range <= SAME


def test_batches_are_told_from_targets(tmp_path):
    targets = SIZES * numpy.where(numpy.arange(200) % 2, 7, 9)
    assert factor_of(tmp_path / "a", falling() / SIZES, targets=targets).unit == "1 / batch"


def test_other_terms_make_the_factor_vary(tmp_path):
    small, large = falling() + 0.01, falling() + numpy.linspace(0, 3, 200)
    assert SAME < factor_of(tmp_path / "a", small).range < MOSTLY
    assert factor_of(tmp_path / "b", large).spread > MOSTLY
    assert factor_of(tmp_path / "c", falling() - 1.0).spread == math.inf
    assert factor_of(tmp_path / "d", -falling()).range == pytest.approx(1)


def test_too_few_steps_give_no_factor(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(9), facts=TEN)
    assert factor(run.steps, falling(9)) is None


def test_a_loss_that_is_most_of_the_objective_keeps_its_shape(tmp_path):
    alone = build_run(tmp_path / "a", loss=falling(), facts=TEN, steps={"objective": 3 * falling() + 0.05})
    assert training_loss(alone.trainings[0]).shapeless is None
    several = build_run(tmp_path / "b", loss=falling(), facts=TEN, steps={"objective": falling() + 3})
    loss = training_loss(several.trainings[0])
    assert loss.not_interpretable is None
    assert loss.shapeless == loss.one_of_several
    times = (falling() + 3) / falling()
    expected = Unclear("several terms", "cross_entropy", first=float(times[0]), last=float(times[-1]))
    assert loss.shapeless == expected
