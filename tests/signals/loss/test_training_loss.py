"""The training loss of an optimizer: which column it is, how it starts and ends, and why it may be unclear."""

import math

import numpy
import pandas
import pytest
import torch

from gradaudit.audit.runner import analyze
from gradaudit.reading.run import load
from gradaudit.schema import LossFacts
from gradaudit.signals.loss.training_loss import Unclear, adversarial, contrastive, training_loss
from tests.build import build_run, write_table
from tests.diagnosers.runs import TEN, falling
from tests.signals.two_optimizers import two_optimizers

NAN, INF = math.nan, math.inf
SQUARES = LossFacts(id=0, function="mse_loss", target_variance=1.0)


def loss_of(path, loss=None, **changes):
    loss = falling() if loss is None else loss
    return training_loss(build_run(path, loss=loss, **{"facts": TEN, **changes}).trainings[0])


@pytest.mark.parametrize("count", [1, 4, 5, 49, 50, 51, 200])
def test_it_ends_at_the_mean_of_its_last_tenth_and_of_five_steps_at_least(tmp_path, count):
    values = falling(count)
    found = loss_of(tmp_path / "a", values)
    assert found.last == pytest.approx(numpy.mean(values[-max(5, count // 10) :]))
    assert found.improvement == pytest.approx((values[0] - found.last) / values[0])


def test_values_that_are_no_numbers_stay_what_they_are(tmp_path):
    loss = falling()
    loss[[0, -1]] = INF, NAN
    found = loss_of(tmp_path / "a", loss)
    assert (found.first, found.kind) == (INF, "classification")
    assert math.isnan(found.last)
    assert math.isnan(found.improvement)
    assert math.isnan(loss_of(tmp_path / "b", numpy.zeros(20)).improvement)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_unit_of_a_loss_changes_no_share_of_it(tmp_path, scale):
    plain, scaled = loss_of(tmp_path / "a"), loss_of(tmp_path / "b", scale * falling())
    assert scaled.improvement == pytest.approx(plain.improvement)
    assert scaled.last == pytest.approx(scale * plain.last)
    assert scaled.shapeless is None


def test_without_a_loss_function_it_is_the_objective(tmp_path):
    found = loss_of(tmp_path / "a", steps={"objective": 3 * falling(), "loss": -1, "mean_loss": NAN})
    numpy.testing.assert_array_equal(found.values, 3 * falling())
    assert (found.facts, found.kind, found.shapeless) == (None, "unknown", Unclear("no function seen"))


@pytest.mark.parametrize(("steps", "facts"), [(120, TEN), (80, None)])
def test_the_facts_are_those_of_the_loss_that_is_called_most(tmp_path, steps, facts):
    which = numpy.where(numpy.arange(200) < steps, 0, 1)  # of loss 1 the run holds no facts
    assert loss_of(tmp_path / "a", steps={"loss": which}).facts == facts


def test_why_it_says_nothing(tmp_path):
    below = loss_of(tmp_path / "a", steps={"objective": falling() - 5})
    assert below.not_interpretable == Unclear("negative objective", "cross_entropy")
    unknown = loss_of(tmp_path / "b", facts=LossFacts(id=0, function="poisson_nll_loss"))
    assert unknown.not_interpretable == Unclear("unknown function", "poisson_nll_loss")
    assert loss_of(tmp_path / "c", facts=SQUARES).not_interpretable is None


@pytest.mark.parametrize(("batch", "told"), [(32, True), (16, False)])
def test_classes_that_are_the_batch_itself(tmp_path, batch, told):
    """torch: targets of InfoNCE are 0 to batch - 1, each once a batch."""
    targets = torch.arange(batch).repeat(200)
    facts = LossFacts(
        id=0, function="cross_entropy", classes=32, label_counts=torch.bincount(targets, minlength=32).tolist()
    )
    assert contrastive(loss_of(tmp_path / "a", facts=facts, steps={"targets": batch})) is told


def test_two_sides_of_a_game_are_told_from_two_optimizers_of_one_loss(tmp_path):
    random = numpy.random.default_rng(0)
    a, b = 0.7 + 0.1 * random.random(100), 0.9 + 0.1 * random.random(100)
    assert adversarial(two_optimizers(tmp_path / "gan", a, b))
    assert not adversarial(two_optimizers(tmp_path / "muon and adam", a, a))
    assert not adversarial(two_optimizers(tmp_path / "shared", a, a, shared=True))
    game = training_loss(two_optimizers(tmp_path / "again", a, b).trainings[0])
    assert game.not_interpretable.why == "adversarial"
    likelihood = training_loss(two_optimizers(tmp_path / "likelihoods", a, b, "cross_entropy").trainings[0])
    assert not likelihood.not_interpretable


def test_an_optimizer_that_shares_a_backward_pass_shares_its_loss(tmp_path):
    run = two_optimizers(tmp_path / "run", falling(100), falling(100), "cross_entropy", shared=True)
    assert numpy.allclose(training_loss(run.trainings[1]).values, training_loss(run.trainings[0]).values)


def test_a_loss_inside_a_compiled_region_is_named_where_it_is_missed(tmp_path):
    run = build_run(tmp_path, loss=falling(150))
    steps = run.steps.copy()
    steps["mean_loss"], steps["loss"] = numpy.nan, -1
    told = "cross_entropy at train.py:12 is inside a compiled region and was not seen"
    write_table(tmp_path / "rank00000", "steps", steps)
    row = {"time": 0.1, "step": 0, "kind": "compiled", "message": told}
    write_table(tmp_path / "rank00000", "events", pandas.DataFrame([row]))
    assert training_loss(load(tmp_path).trainings[0]).not_interpretable == Unclear("compiled", told=told)
    outcome = {each.diagnoser: each for each in analyze(load(tmp_path)).outcomes}
    assert told in outcome["initial_loss_mismatch"].result.text
    assert told in outcome["overfitting"].result.text
