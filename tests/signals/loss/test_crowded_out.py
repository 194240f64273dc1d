"""Terms that were minimised away beside a loss, in shares of the objective by numpy."""

import numpy
import pytest

from gradaudit.schema import ModuleFacts
from gradaudit.signals.loss.crowded_out import crowding
from gradaudit.signals.loss.training_loss import training_loss
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat

STEPS = 200


def rest(path, other, weight=1.0, loss=None, modules=()):
    loss = flat(STEPS) if loss is None else loss
    modules = [ModuleFacts(id=i, name=name, module_class="Linear") for i, name in enumerate(modules)]
    steps = {"objective": weight * (loss + other)}
    return crowding(training_loss(build_run(path, loss=loss, facts=TEN, steps=steps, modules=modules).trainings[0]))


def gone(first=2.0, last=0.0):
    return last + first * numpy.exp(-numpy.arange(STEPS) / 10)


@pytest.mark.parametrize("weight", [1e-3, 1.0, 1e3])
def test_shares_are_of_the_objective_whatever_its_unit(tmp_path, weight):
    found = rest(tmp_path / "a", gone(), weight)
    share = gone() / (flat(STEPS) + gone())
    least = 1 - share
    # The loss counts by its least weight, and the last tenth by its median.
    assert found.first == pytest.approx(1 - (1 - share[:3].max()) / least.max(), abs=1e-6)
    assert found.last == pytest.approx(numpy.median(share[-20:]), abs=1e-6)
    assert 0 <= found.last < 0.1 * found.first


@pytest.mark.parametrize(
    "other", [numpy.zeros(STEPS), gone(0.05), gone()[::-1], numpy.full(STEPS, numpy.nan), -gone(9.0)]
)
def test_other_terms_that_stay_were_small_or_are_not_known_crowd_nothing_out(tmp_path, other):
    assert rest(tmp_path / "a", other) is None


def test_terms_that_stay_beside_a_loss_that_falls_crowd_nothing_out(tmp_path):
    assert rest(tmp_path / "a", gone(2.0, 1.0), loss=falling(STEPS)) is None
    back = gone() + numpy.where(numpy.arange(STEPS) < 150, 0.0, 0.2)
    assert rest(tmp_path / "b", back) is None, "a sixth of its share is left"


def test_a_few_steps_tell_nothing(tmp_path):
    loss = flat(9)
    steps = {"objective": loss + gone()[:9]}
    assert crowding(training_loss(build_run(tmp_path / "a", loss=loss, facts=TEN, steps=steps).trainings[0])) is None


@pytest.mark.parametrize(
    ("name", "latent"),
    [("fc_mu", True), ("encoder.logvar", True), ("log_sigma.0", True), ("z_mean", True), ("mul", False),
     ("encoder.meaning", False), ("head", False)],
)  # fmt: skip
def test_a_variational_autoencoder_is_known_by_the_names_of_its_layers(tmp_path, name, latent):
    assert rest(tmp_path / "a", gone(), modules=["encoder", name]).latent is latent
