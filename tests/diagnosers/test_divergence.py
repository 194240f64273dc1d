import dataclasses

import msgspec
import numpy
import pytest

from gradaudit.diagnosers.divergence import Divergence, Held, divergence
from gradaudit.diagnosers.learning_rate_too_high import learning_rate_too_high
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts, OptimizerFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_gradients import diverging
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_falling_loss_is_quiet(tmp_path):
    run = healthy(tmp_path)
    found = judged(divergence, run, Held)
    assert found.start == pytest.approx(2.31, abs=0.005)
    assert found.last < found.start
    assert_clean(divergence, run)


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
    assert_skipped(divergence, build_run(tmp_path / "a", loss=loss, facts=TEN))


def test_a_loss_that_leaves_for_good_is_critical(tmp_path):
    run = diverging(tmp_path / "a")
    found = judged(divergence, run, Divergence)
    assert (found.step, found.span.last) == (141, 199)
    assert (found.lowest, found.highest, found.last) == pytest.approx((1.16, 40, 29.1), rel=5e-3)
    assert found.too_large is None
    assert (found.rates, found.lower) == (pytest.approx(1e-3), pytest.approx(1e-4))
    finding = assert_finds(divergence, run, Severity.CRITICAL)
    assert finding.title == "Divergence from step 141"
    assert finding.headline.endswith("from 1.16 to 40 and ends at 29.1")
    assert finding.measures[1].value == pytest.approx(12.6, abs=0.1), "last loss over the start"
    assert finding.span.first == 141
    assert finding.actions[0].text == "Lower the learning rate at step 141 from 0.001 to 1e-4"


def test_it_names_a_learning_rate_that_grew(tmp_path):
    rates = [[1e-3 * 1.02**step] for step in range(200)]
    run = diverging(tmp_path / "a", steps={"learning_rate": rates})
    found = judged(divergence, run, Divergence)
    assert found.rates_grew
    assert (found.first_rates, found.rates) == (pytest.approx(1e-3), pytest.approx(1e-3 * 1.02**found.step))
    assert "the learning rate has risen from 0.001 to" in assert_finds(divergence, run).explanation


@pytest.mark.parametrize("steps", [slice(50, 80), slice(1, 30), slice(100, 108), slice(20, 160)])
def test_a_loss_that_ends_far_below_its_start_did_not_diverge(tmp_path, steps):
    loss = falling()
    loss[steps] = 8.0
    assert_clean(divergence, build_run(tmp_path / "a", loss=loss, facts=TEN))


def test_a_loss_that_only_comes_back_to_its_start_is_critical(tmp_path):
    loss = flat(200, 2.25)
    loss[20:60] = 9.0
    run = build_run(tmp_path / "a", loss=loss, facts=TEN)
    found = judged(divergence, run, Divergence)
    assert found.returned
    assert (found.step, found.highest) == (22, 9.0)
    assert (found.lowest, found.last) == pytest.approx((2.25, 2.25), abs=5e-3)
    finding = assert_finds(divergence, run, Severity.CRITICAL)
    assert finding.title == "Divergence from step 22"
    assert "from 2.25 to 9.00 at step 22 and only returns to its start, 2.25" in finding.headline


def test_targets_that_move_are_not_judged(tmp_path):
    """The returns of an agent grow with what it has learned, and so does the loss on them."""
    parts = [[10, 1.0 + index, 0.2, 1.0, 0.1] for index in range(16)]
    facts = LossFacts(id=0, function="mse_loss", target_variance=20.0, target_parts=parts)
    reason = assert_not_applicable(divergence, diverging(tmp_path / "a", facts=facts))
    assert reason == (
        "its targets move while the model learns, as in reinforcement learning: their mean goes from 2.50 to 14.5"
    )


def test_one_term_of_several_is_not_judged(tmp_path):
    """A reconstruction rises as the weight of the other term does."""
    loss = numpy.geomspace(0.01, 3, 200)
    steps = {"objective": loss * numpy.linspace(1, 5, 200)}
    facts = LossFacts(id=0, function="mse_loss", target_variance=1.0)
    reason = assert_not_applicable(divergence, build_run(tmp_path / "a", loss=loss, facts=facts, steps=steps))
    assert reason.startswith(
        "mse_loss is one of several terms, or weighted: what is minimised is 1.0 times it at first"
    )
    assert reason.endswith("and 5.0 times at the end")


def test_a_penalty_beside_the_loss_is_no_reason_to_look_away(tmp_path):
    loss = numpy.concatenate([numpy.linspace(2.3, 1.2, 100), numpy.geomspace(1.2, 40, 100)])
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"objective": loss + 0.1})
    assert_finds(divergence, run, Severity.CRITICAL)


def test_a_first_batch_that_is_low_by_chance_is_quiet(tmp_path):
    loss = flat(200, 0.45, noise=0.25)
    loss[0] = 0.32
    facts = LossFacts(id=0, function="huber_loss")
    assert_clean(divergence, build_run(tmp_path / "a", loss=loss, facts=facts))


def test_an_optimizer_that_maximizes_is_named_first(tmp_path):
    facts = OptimizerFacts(id=0, optimizer_class="SGD", defaults={"maximize": True})
    run = build_run(tmp_path / "a", loss=numpy.geomspace(2.3, 500, 200), facts=TEN)
    run = dataclasses.replace(run, meta=msgspec.structs.replace(run.meta, optimizers=[facts]))
    assert judged(divergence, run, Divergence).maximizes
    finding = assert_finds(divergence, run, Severity.CRITICAL)
    assert finding.title == "Gradient ascent instead of descent"
    assert "maximize=True" in finding.explanation
    assert finding.actions[0].text.startswith("Remove maximize=True")


def test_a_rise_below_the_constant_predictor_is_a_warning(tmp_path):
    loss = numpy.linspace(0.5, 1.0, 200)
    run = build_run(tmp_path / "a", loss=loss, facts=TEN)
    assert judged(divergence, run, Divergence).below_constant
    finding = assert_finds(divergence, run, Severity.WARNING)
    assert finding.title == f"Rising loss from step {finding.span.first}"


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    facts = LossFacts(id=0, function="mse_loss", target_variance=scale)
    run = diverging(tmp_path / "a", last=40 * scale, first=2.3 * scale, facts=facts)
    assert assert_finds(divergence, run, Severity.CRITICAL).span.first == 141


def test_a_loss_that_comes_back_to_its_start_is_not_called_worse_than_it(tmp_path):
    loss = numpy.interp(numpy.arange(400), [0, 100, 250, 300, 399], [2.3, 1.0, 9.0, 9.0, 2.2])
    loss[360:] = 2.2
    run = build_run(tmp_path / "a", loss=loss, facts=TEN)
    found = judged(divergence, run, Divergence)
    assert found.returned
    assert (found.tail, found.last) == (40, pytest.approx(2.2))
    finding = assert_finds(divergence, run, Severity.CRITICAL)
    assert "on balance nothing is learned" in finding.explanation
    assert "worse than" not in finding.explanation


def test_one_low_batch_is_not_the_lowest_that_it_was(tmp_path):
    loss = diverging(tmp_path / "a").steps["mean_loss"].to_numpy().copy()
    loss[60] = 0.01
    found = judged(divergence, build_run(tmp_path / "b", loss=loss, facts=TEN), Divergence)
    assert found.lowest == pytest.approx(1.16, abs=5e-3)
    assert found.window == 5


def test_either_of_two_measures_is_enough(tmp_path):
    finding = assert_finds(divergence, diverging(tmp_path / "a"))
    doubled, worse = finding.measures
    assert doubled.value == pytest.approx(16.2, abs=0.05), "the running median at its largest, over the start"
    assert (doubled.comparison, doubled.threshold) == (">", 2.0)
    assert doubled.any_of == worse.any_of != ""


def test_its_advice_is_that_of_a_learning_rate_that_was_too_high_and_keeps_the_momentum(tmp_path):
    update = numpy.full((200, 1), 1e-3)
    update[125:] = 5.0
    run = diverging(tmp_path / "a", stats={"update_norm": update})
    facts = OptimizerFacts(id=0, optimizer_class="SGD", defaults={"momentum": 0.9, "nesterov": True})
    run = dataclasses.replace(run, meta=msgspec.structs.replace(run.meta, optimizers=[facts]))
    found = judged(divergence, run, Divergence)
    assert found.too_large is not None
    assert (found.too_large.step, found.lower) == (125, pytest.approx(2e-5))
    own = assert_finds(divergence, run).actions[0]
    other = assert_finds(learning_rate_too_high, run).actions[0]
    assert own.text == "Lower the learning rate from 0.001 to 2e-5"
    assert other.text.startswith(own.text)
    assert own.code == other.code == "torch.optim.SGD(model.parameters(), lr=2e-5, momentum=0.9, nesterov=True)"
