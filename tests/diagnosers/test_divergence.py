import dataclasses

import msgspec
import numpy
import pytest

from gradaudit.diagnosers.divergence import divergence
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts, OptimizerFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_gradients import diverging
from tests.diagnosers.verbs import assert_clean, assert_could_not_look, assert_finds, assert_not_applicable


def test_a_falling_loss_is_quiet(tmp_path):
    assert assert_clean(divergence, healthy(tmp_path)).startswith("the loss starts at 2.31, ends at")


def test_a_spike_of_one_step_is_quiet(tmp_path):
    loss = falling()
    loss[120] = 60.0
    assert_clean(divergence, build_run(tmp_path / "a", loss=loss, facts=TEN))


def test_a_pretrained_start_below_the_constant_predictor_may_rise_a_little(tmp_path):
    loss = 0.3 + 0.02 * numpy.random.default_rng(0).standard_normal(200)
    assert_clean(divergence, build_run(tmp_path / "a", loss=loss, facts=TEN))


def test_a_batch_of_one_is_noisy_and_quiet(tmp_path):
    loss = numpy.random.default_rng(0).exponential(1.0, 400)
    assert_clean(divergence, build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"targets": 1}))


@pytest.mark.parametrize("function", ["logged", "gaussian_nll_loss"])
def test_losses_of_unknown_level_are_not_judged(tmp_path, function):
    run = diverging(tmp_path / "a", facts=LossFacts(id=0, function=function))
    assert_not_applicable(divergence, run)


def test_policy_gradients_are_not_judged(tmp_path):
    objective = numpy.linspace(-1, 30, 200)
    assert_not_applicable(divergence, diverging(tmp_path / "a", steps={"objective": objective}))


def test_a_first_loss_that_is_no_number_cannot_be_compared_with(tmp_path):
    loss = falling()
    loss[0] = float("nan")
    assert_could_not_look(divergence, build_run(tmp_path / "a", loss=loss, facts=TEN))


def test_a_loss_that_leaves_for_good_is_critical(tmp_path):
    finding = assert_finds(divergence, diverging(tmp_path / "a"), Severity.CRITICAL)
    assert finding.headline == "The loss diverges at step 141: it climbs from 1.16 to 40 and ends at 29.1"
    assert finding.span.first == 141
    assert finding.actions[0].text == "Lower the learning rate at step 141 from 0.001 to 1e-4"


def test_it_names_a_learning_rate_that_grew(tmp_path):
    rates = [[1e-3 * 1.02**step] for step in range(200)]
    finding = assert_finds(divergence, diverging(tmp_path / "a", steps={"learning_rate": rates}))
    assert "the learning rate has gone from 0.001 to" in finding.seen


def test_a_rise_that_comes_back_is_a_warning(tmp_path):
    loss = falling()
    loss[50:80] = 8.0
    assert_finds(divergence, build_run(tmp_path / "a", loss=loss, facts=TEN), Severity.WARNING)


def test_a_spike_far_into_the_run_is_left_to_loss_spike(tmp_path):
    loss = falling(400)
    loss[200:208] = 8.0
    assert_clean(divergence, build_run(tmp_path / "a", loss=loss, facts=TEN))
    loss[200:240] = 8.0
    assert_finds(divergence, build_run(tmp_path / "b", loss=loss, facts=TEN), Severity.WARNING)


def test_a_first_batch_that_is_low_by_chance_is_quiet(tmp_path):
    loss = flat(200, 0.45, noise=0.25)
    loss[0] = 0.32
    facts = LossFacts(id=0, function="huber_loss")
    assert_clean(divergence, build_run(tmp_path / "a", loss=loss, facts=facts))


def test_an_optimizer_that_maximizes_is_named_first(tmp_path):
    facts = OptimizerFacts(id=0, optimizer_class="SGD", defaults={"maximize": True})
    run = build_run(tmp_path / "a", loss=numpy.geomspace(2.3, 500, 200), facts=TEN)
    run = dataclasses.replace(run, meta=msgspec.structs.replace(run.meta, optimizers=[facts]))
    finding = assert_finds(divergence, run, Severity.CRITICAL)
    assert "maximize=True" in finding.seen
    assert finding.actions[0].text.startswith("Remove maximize=True")


def test_a_rise_below_the_constant_predictor_is_a_warning(tmp_path):
    loss = numpy.linspace(0.5, 1.0, 200)
    assert_finds(divergence, build_run(tmp_path / "a", loss=loss, facts=TEN), Severity.WARNING)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    facts = LossFacts(id=0, function="mse_loss", target_variance=scale)
    run = diverging(tmp_path / "a", last=40 * scale, first=2.3 * scale, facts=facts)
    assert assert_finds(divergence, run, Severity.CRITICAL).span.first == 141
