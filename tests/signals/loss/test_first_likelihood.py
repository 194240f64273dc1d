"""What is off with a first loss, against cross entropies of torch."""

import math

import numpy
import pytest
import torch
from torch.nn import functional

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.first_likelihood import (
    BelowChance,
    ExpectedStart,
    NearUniform,
    NegativeLikelihood,
    NotAveraged,
    Overconfident,
    UnusedOutputs,
    first_likelihood,
)
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling, flat
from tests.signals.two_optimizers import two_optimizers

NAN, INF = math.nan, math.inf
UNIFORM = math.log(10)
EXPECTED = ExpectedStart(function="cross_entropy", classes=10, weighted=False, uniform=UNIFORM, high=UNIFORM + 0.5,
                         severe=3 * UNIFORM, mild=1.5 * UNIFORM, low=0.7 * UNIFORM, option="excess")  # fmt: skip
USUAL = 32 / math.sqrt(3 * 32)  # the norm of 32 x 32 weights as torch.nn draws them


def starting(first, loss=None):
    """A loss that falls from `first`."""
    loss = falling() if loss is None else loss
    loss[0] = first
    return loss


def of(path, loss, facts=TEN, expected=EXPECTED, vocabulary=100, soon=0.1, **changes):
    training = build_run(path, loss=loss, facts=facts, **changes).trainings[0]
    return first_likelihood(training_loss(training), facts, expected, vocabulary, soon)


def entropy_of(scale, targets=512):
    """The cross entropy of random logits of this scale."""
    logits = scale * torch.randn(targets, 10, generator=torch.Generator().manual_seed(0))
    return float(functional.cross_entropy(logits, torch.arange(targets) % 10))


def test_untrained_logits_are_near_uniform(tmp_path):
    found = of(tmp_path / "a", starting(entropy_of(0.1)))
    assert type(found) is NearUniform
    assert (found.expected, found.layer, found.loss.first) == (EXPECTED, None, pytest.approx(UNIFORM, abs=0.05))


@pytest.mark.parametrize(("scale", "severe"), [(3.0, False), (10.0, True)])
def test_large_logits_are_overconfident(tmp_path, scale, severe):
    first = entropy_of(scale)
    assert (first > EXPECTED.severe) is severe
    found = of(tmp_path / "a", starting(first))
    assert type(found) is Overconfident
    assert (found.severe, found.layer, found.outcome) == (severe, None, None)


@pytest.mark.parametrize(
    ("first", "steps", "mild"), [(1.49, 4, True), (1.51, 4, False), (1.49, 15, True), (1.49, 25, False)]
)
def test_a_start_a_little_high_that_is_soon_below_the_level_is_mild(tmp_path, first, steps, mild):
    loss = falling(200, first=2.2)
    loss[:steps] = numpy.linspace(first * UNIFORM, UNIFORM + 0.1, steps)
    found = of(tmp_path / "a", loss)
    # The median of five comes below it three steps after the loss does.
    assert (found.mild, found.below_from, found.spent) == (mild, steps + 2, (steps + 2) / 200)
    assert not of(tmp_path / "b", loss, soon=(steps + 1) / 200).mild


def test_a_loss_that_ends_above_the_level_has_spent_the_whole_run(tmp_path):
    found = of(tmp_path / "a", starting(3.0, flat(200, 2.4)))
    assert (found.mild, found.below_from, found.spent) == (False, None, 1)


@pytest.mark.parametrize(("times", "at_fault"), [(1.0, False), (2.9, False), (3.1, True)])
def test_a_layer_is_at_fault_that_starts_at_three_times_the_default(tmp_path, times, at_fault):
    norms = {"weight_norm": [1.0, 1.0, times * USUAL, 1.0]}
    found = of(tmp_path / "a", starting(5.0), tensors=linear_stack(2), stats=norms)
    assert (found.layer and found.layer.name) == ("layers.1.weight" if at_fault else None)


def test_a_layer_that_is_recorded_late_is_not_known(tmp_path):
    found = of(tmp_path / "a", starting(5.0), stats={"weight_norm": 100 * USUAL}, recorded=range(5, 200))
    assert type(found) is Overconfident
    assert found.layer is None


def test_what_became_of_it_is_told(tmp_path):
    assert of(tmp_path / "a", starting(5.0, flat())).outcome.kind == "learned nothing"


@pytest.mark.parametrize(
    ("first", "kind"), [(-1e-3, NegativeLikelihood), (0.0, BelowChance), (-INF, NegativeLikelihood)]
)
def test_a_likelihood_is_never_negative(tmp_path, first, kind):
    assert type(of(tmp_path / "a", starting(first))) is kind


@pytest.mark.parametrize(
    ("first", "kind"),
    [(EXPECTED.low - 0.01, BelowChance), (EXPECTED.low + 0.01, NearUniform), (EXPECTED.high - 0.01, NearUniform),
     (EXPECTED.high + 0.01, Overconfident)],
)  # fmt: skip
def test_the_limits_are_those_that_are_expected(tmp_path, first, kind):
    assert type(of(tmp_path / "a", starting(first))) is kind


def test_what_was_trained_before_may_start_low(tmp_path):
    assert type(of(tmp_path / "a", starting(0.5), attempt=1)) is NearUniform
    run = two_optimizers(tmp_path / "b", starting(0.5), starting(0.5), "cross_entropy")
    kinds = [
        type(first_likelihood(training_loss(training), training_loss(training).facts, EXPECTED, 100, 0.1))
        for training in run.trainings
    ]
    assert kinds == [BelowChance, NearUniform]


@pytest.mark.parametrize(("optimizer", "adaptive"), [("SGD", False), ("Adam", True)])
def test_a_sum_over_the_targets_is_not_averaged(tmp_path, optimizer, adaptive):
    loss = starting(entropy_of(0.1))
    steps = {"objective": 32 * loss, "targets": 32}
    found = of(tmp_path / "a", loss, steps=steps, optimizer=optimizer)
    assert type(found) is NotAveraged
    assert (found.factor.amount, found.factor.meaning) == (32, "targets")
    assert (found.factor.times, found.adaptive, found.outcome) == (pytest.approx(32), adaptive, None)


def test_a_small_sum_looks_like_an_average(tmp_path):
    """Two micro-steps of a loss far below that of a uniform prediction."""
    steps = {"objective": 2 * starting(1.0), "micro_steps": 2}
    assert type(of(tmp_path / "a", starting(1.0), steps=steps)) is BelowChance
    assert type(of(tmp_path / "b", starting(1.5), steps={**steps, "objective": 2 * starting(1.5)})) is NotAveraged


def test_one_step_tells_an_exact_factor(tmp_path):
    assert type(of(tmp_path / "a", [2.3], steps={"objective": 32 * 2.3, "targets": 32})) is NotAveraged
    assert type(of(tmp_path / "b", [2.3], steps={"objective": NAN})) is NearUniform
    assert type(of(tmp_path / "c", [5.0], steps={"objective": INF})) is Overconfident


FEW = LossFacts(id=0, function="cross_entropy", classes=10, label_counts=[100] * 2 + [0] * 8)


@pytest.mark.parametrize(
    ("first", "kind"),
    [(UNIFORM, UnusedOutputs), (UNIFORM - 0.49, UnusedOutputs), (UNIFORM - 0.51, NearUniform),
     (math.log(2), BelowChance), (UNIFORM + 0.51, Overconfident)],
)  # fmt: skip
def test_outputs_beyond_the_classes_that_occur_are_unused(tmp_path, first, kind):
    """Logits of ten outputs, two of which are ever right."""
    assert type(of(tmp_path / "a", starting(first), FEW)) is kind


@pytest.mark.parametrize(("first", "kind"), [(2.0, NearUniform), (2.2, UnusedOutputs)])
def test_a_start_near_that_of_the_classes_that_occur_uses_no_others(tmp_path, first, kind):
    """Of five classes, ln 5 and a half is 2.1."""
    half = LossFacts(id=0, function="cross_entropy", classes=10, label_counts=[100] * 5 + [0] * 5)
    assert type(of(tmp_path / "a", starting(first), half)) is kind


def test_unused_outputs_are_told_with_the_layer_and_the_limit_of_those_that_are_used(tmp_path):
    found = of(tmp_path / "a", starting(UNIFORM), FEW)
    assert (found.used, found.high) == (2, pytest.approx(math.log(2) + 0.5))
    assert found.layer.name == "layers.3.weight"


def test_a_large_vocabulary_has_words_that_never_occur(tmp_path):
    assert type(of(tmp_path / "a", starting(UNIFORM), FEW, vocabulary=9)) is NearUniform


def test_the_first_loss_is_that_of_the_whole_first_step(tmp_path):
    """What follows it makes no difference."""
    loss = starting(entropy_of(0.1))
    loss[1:] = numpy.where(numpy.arange(199) % 2, NAN, 1e9)
    assert type(of(tmp_path / "a", loss)) is NearUniform
