"""What a loss is to the objective, and whether its targets stay what they are."""

import math

import numpy
import pytest

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.moving_target import movement
from gradaudit.signals.loss.objective import MOSTLY, SAME, factor
from gradaudit.signals.loss.training_loss import training_loss
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
    assert training_loss(alone.trainings[0]).shapeless == ""
    several = build_run(tmp_path / "b", loss=falling(), facts=TEN, steps={"objective": falling() + 3})
    loss = training_loss(several.trainings[0])
    assert loss.not_interpretable == ""
    assert loss.shapeless == loss.one_of_several
    assert loss.shapeless.startswith("cross_entropy is one of several terms, or weighted")


def regression(parts=(), trained=False):
    return LossFacts(id=0, function="mse_loss", target_variance=1.0, target_parts=list(parts), target_trained=trained)


def parts(means, spreads=None, calls=20, scatter=0.3, number=16):
    means = numpy.broadcast_to(means, number)
    spreads = numpy.broadcast_to(1.0 if spreads is None else spreads, number)
    return [[calls, float(m), scatter, float(s), 0.1] for m, s in zip(means, spreads, strict=True)]


def test_targets_that_stay_do_not_move():
    random = numpy.random.default_rng(0)
    assert movement(regression()) == ""
    assert movement(regression(parts(5.0))) == ""
    assert movement(regression(parts(5 + 0.3 / math.sqrt(20) * random.standard_normal(16)))) == ""


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_mean_that_drifts_is_told(scale):
    found = movement(regression([[20, scale * m, scale * 0.3, scale, scale * 0.1] for m in numpy.linspace(1, 15, 16)]))
    assert found.startswith("their mean goes from ")
    if scale == 1:
        assert found == "their mean goes from 2.40 to 13.6"


def test_a_mean_that_rises_and_falls_again_has_moved_too():
    assert movement(regression(parts(numpy.concatenate([numpy.linspace(0, 9, 8), numpy.linspace(9, 0, 8)])))) != ""


def test_a_spread_that_grows_is_told():
    assert movement(regression(parts(0.0, numpy.linspace(0.5, 4, 16)))) == "their spread goes from 0.85 to 3.65"


def test_a_small_drift_few_calls_and_heavy_tails_say_nothing():
    assert movement(regression(parts(numpy.linspace(0, 0.3, 16)))) == ""
    assert movement(regression(parts(numpy.linspace(0, 9, 3), number=3))) == ""
    assert movement(regression(parts(numpy.linspace(0, 9, 4), number=4, calls=2))) == ""
    assert movement(regression(parts(numpy.linspace(0, 3, 16), scatter=20.0, calls=4))) == ""


def test_what_is_trained_moves():
    assert movement(regression(trained=True)) == "what they are held against is trained, too"


def test_targets_of_batches_of_one_have_no_spread_and_may_move():
    still = [[50, 1.0, 0.9, 0.0, 0.0] for _ in range(16)]
    drifting = [[50, float(mean), 0.9, 0.0, 0.0] for mean in numpy.linspace(0, 9, 16)]
    assert movement(regression(still)) == ""
    assert movement(regression(drifting)) != ""
