"""Where numbers stop being finite, against numpy's own test of the same numbers."""

import dataclasses
import math

import msgspec
import numpy
import pandas
import pytest

from gradaudit.schema import DisabledFacts
from gradaudit.signals.gradients.finiteness import (
    bad_gradients,
    bad_losses,
    bad_norms,
    bad_weights,
    diverged_before,
    non_finite_onset,
    skipped_at,
    typical_loss_before,
)
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.signals.two_optimizers import two_optimizers

NAN, INF = math.nan, math.inf
STEPS = 40


def onset(path, loss=None, **changes):
    return non_finite_onset(
        build_run(path, loss=flat(STEPS) if loss is None else loss, facts=TEN, **changes).trainings[0]
    )


def at(step, tensor, value=1.0, elsewhere=0.0):
    """[steps, 8]: `value` of one tensor from one step on."""
    found = numpy.full((STEPS, 8), elsewhere)
    found[step:, tensor] = value
    return found


def test_a_finite_run_has_none(tmp_path):
    assert non_finite_onset(healthy(tmp_path).trainings[0]) is None


@pytest.mark.parametrize(("value", "what"), [(NAN, "NaN"), (INF, "infinite"), (-INF, "infinite")])
def test_a_loss(tmp_path, value, what):
    loss = flat(STEPS)
    loss[20:] = value
    found = onset(tmp_path / "a", loss)
    assert (found.step, found.where, found.what, found.recovered, found.steps_with) == (20, "loss", what, False, 20)
    assert typical_loss_before(found) == pytest.approx(numpy.median(flat(STEPS)[10:20]))


@pytest.mark.parametrize(("stat", "what"), [("gradient_nan", "NaN"), ("gradient_inf", "infinite")])
def test_a_gradient(tmp_path, stat, what):
    found = onset(tmp_path / "a", stats={stat: at(15, 2)})
    assert (found.step, found.where, found.what, found.tensors) == (15, "gradient", what, ("layers.1.weight",))
    assert (found.loss_finite, found.steps_with, found.recovered) == (True, STEPS - 15, True)


def test_a_weight_that_a_step_breaks_and_one_that_was_broken_before_it(tmp_path):
    by_step = onset(tmp_path / "a", stats={"update_norm": at(15, 3, INF, 1e-3)})
    assert (by_step.where, by_step.before_step, by_step.tensors) == ("weight", False, ("layers.1.bias",))
    before = onset(tmp_path / "b", stats={"weight_norm": at(15, 3, NAN, 1.0), "gradient_nan": at(15, 2)})
    assert (before.where, before.what, before.before_step) == ("weight", "NaN", True)
    assert before.tensors == ("layers.1.bias",)


def test_of_loss_and_gradient_the_first_counts_and_of_one_step_the_loss(tmp_path):
    loss = flat(STEPS)
    loss[20:] = NAN
    for step, where in ((19, "gradient"), (20, "loss"), (21, "loss")):
        assert onset(tmp_path / str(step), loss, stats={"gradient_nan": at(step, 0)}).where == where


def test_statistics_at_few_steps_tell_later(tmp_path):
    found = onset(tmp_path / "a", stats={"gradient_nan": at(15, 0)[::8]}, recorded=range(0, STEPS, 8))
    assert (found.step, found.tensors_step, found.steps_with) == (16, 16, 3)


def test_a_step_that_the_scaler_skipped_does_not_count(tmp_path):
    bad = numpy.zeros((STEPS, 8))
    bad[7] = 1
    changes = {"stats": {"gradient_inf": bad}, "steps": {"skipped": numpy.arange(STEPS) == 7}}
    assert onset(tmp_path / "a", **changes) is None
    training = build_run(tmp_path / "b", loss=falling(STEPS), **changes).trainings[0]
    assert numpy.flatnonzero(skipped_at(training)).tolist() == [7]


def test_a_run_that_comes_back(tmp_path):
    loss = flat(STEPS)
    loss[10:12] = INF
    assert onset(tmp_path / "a", loss).recovered


def test_what_led_up_to_it(tmp_path):
    """Judged by the greatest of ten steps: the loss over the first one, the updates over the weights."""
    loss = numpy.ones(STEPS)
    loss[12:20], loss[20:] = 40.0, NAN
    found = onset(tmp_path / "a", loss, stats={"update_norm": at(20, slice(None), 0.25, 1e-3)})
    assert (found.rise, found.update_ratio) == (40.0, 0.25)
    assert diverged_before(found)
    for limits, expected in (({"rise": 41.0}, False), ({"rise": 41.0, "fast": 0.2}, True)):
        run = dataclasses.replace(found.training.run, thresholds={f"non_finite.{k}": v for k, v in limits.items()})
        assert diverged_before(msgspec.structs.replace(found, training=run.training(found.training.id))) is expected
    loss[10:20] = 1.0
    assert not diverged_before(onset(tmp_path / "b", loss))


def test_masks_are_those_of_numpy(tmp_path):
    norms = numpy.abs(numpy.random.default_rng(0).standard_normal((STEPS, 8)))
    norms[3, 1], norms[5, 2] = NAN, INF
    there = numpy.ones((STEPS, 8), dtype=bool)
    there[3] = False
    tensors = linear_stack()
    tensors[4] = msgspec.structs.replace(tensors[4], shape=[0, 32])
    norms[:, 4] = NAN
    stats = {"weight_norm": norms, "has_grad": there, "gradient_nan": at(9, 6), "gradient_inf": at(4, 7)}
    training = build_run(tmp_path / "a", loss=falling(STEPS), stats=stats, tensors=tensors).trainings[0]
    assert numpy.argwhere(bad_weights(training)).tolist() == [[5, 2]]
    numpy.testing.assert_array_equal(bad_gradients(training), (at(9, 6) + at(4, 7)) > 0)


def test_a_loss_that_nobody_saw_is_not_bad(tmp_path):
    steps = {"objective": NAN, "mean_loss": NAN, "micro_steps": 0, "targets": 0}
    run = build_run(tmp_path / "a", loss=falling(STEPS), steps=steps)
    assert not bad_losses(run, run.steps).any()
    broken = [DisabledFacts(observer="objectives", reason="fault", step=20)]
    objective = numpy.where(numpy.arange(STEPS) < 20, 1.0, NAN)
    objective[5] = INF
    run = build_run(tmp_path / "b", loss=falling(STEPS), steps={"objective": objective}, disabled=broken)
    assert numpy.flatnonzero(bad_losses(run, run.steps)).tolist() == [5]


def test_norms_count_where_they_were_recorded():
    frame = pandas.DataFrame({"gradient_norm": [1.0, NAN, NAN, INF], "recorded": [True, True, False, True]})
    assert bad_norms(frame).tolist() == [False, True, False, True]


def test_of_two_trainings_each_has_its_own(tmp_path):
    loss = falling(STEPS)
    loss[30:] = NAN
    run = two_optimizers(tmp_path / "a", falling(STEPS), loss)
    assert non_finite_onset(run.trainings[0]) is None
    assert non_finite_onset(run.trainings[1]).step == 61
