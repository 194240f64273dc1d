"""The spread of outputs over a batch in the unit of a loss, against torch's own."""

import math

import pytest
import torch

from gradaudit.schema import LossFacts
from gradaudit.signals.activations.output_spread import output_spread
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import falling, loss_input

LOGITS = 0.02 * torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
SPREAD = float(LOGITS.std(dim=0).mean())


def spread(path, outputs, function="cross_entropy", steps=range(0, 200, 10), **facts):
    samples = [loss_input(step, batch_spread=float(outputs.std(dim=0).mean())) for step in steps]
    known = LossFacts(id=0, function=function, classes=10 if function == "cross_entropy" else 0, **facts)
    return output_spread(training_loss(build_run(path, loss=falling(), facts=known, samples=samples).trainings[0]))


def test_logits_are_taken_as_they_are(tmp_path):
    assert spread(tmp_path / "a", LOGITS) == pytest.approx(SPREAD)
    assert spread(tmp_path / "b", LOGITS, "binary_cross_entropy_with_logits") == pytest.approx(SPREAD)


def test_probabilities_are_taken_back_to_logits(tmp_path):
    """A sigmoid's slope is a quarter around 0."""
    assert spread(tmp_path / "a", torch.sigmoid(LOGITS), "binary_cross_entropy") == pytest.approx(SPREAD, rel=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_regression_is_measured_in_deviations_of_its_target(tmp_path, scale):
    found = spread(tmp_path / "a", scale * LOGITS, "mse_loss", target_variance=(2 * scale) ** 2)
    assert found == pytest.approx(SPREAD / 2)


@pytest.mark.parametrize(
    "changes",
    [{"steps": range(0, 170, 10)}, {"function": "l1_loss"}, {"function": "mse_loss"},
     {"function": "mse_loss", "target_variance": 0.0}, {"function": "mse_loss", "target_variance": math.nan},
     {"steps": ()}],
)  # fmt: skip
def test_it_is_not_known_without_samples_of_the_end_or_a_unit(tmp_path, changes):
    assert math.isnan(spread(tmp_path / "a", LOGITS, **changes))


def test_the_last_tenth_is_where_it_is_sampled(tmp_path):
    assert spread(tmp_path / "a", LOGITS, steps=[179]) == pytest.approx(SPREAD)
    assert math.isnan(spread(tmp_path / "b", LOGITS, steps=[178]))
