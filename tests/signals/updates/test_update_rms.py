import numpy
import pytest

from gradaudit.diagnosers.learning_rate_too_high import learning_rate_too_high
from gradaudit.diagnosers.learning_rate_too_low import learning_rate_too_low
from gradaudit.evidence.words.run_facts import run_facts
from gradaudit.evidence.words.run_numbers import update_size, update_sizes
from gradaudit.signals.updates.ratios import last_half
from gradaudit.signals.updates.update_rms import median_update_rms, update_rms
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, parameters
from tests.diagnosers.verbs import assert_finds

STEPS, LAYERS = 80, 4


def moving(path, *, rates=None, recorded=None, optimizer="AdamW", level=0.3, loss=None, weights=1.0):
    """Updates of `level` learning rates per element in the first half, and of twice that in the second."""
    rates = numpy.geomspace(1e-3, 1e-4, STEPS) if rates is None else rates
    tensors = parameters(LAYERS)
    kept = numpy.arange(STEPS) if recorded is None else numpy.asarray(recorded)
    sizes = numpy.sqrt([tensor.elements for tensor in tensors])
    scale = numpy.where(kept < STEPS // 2, level, 2 * level)
    stats = {
        "weight_norm": weights,
        "update_norm": (scale * rates[kept])[:, None] * sizes * numpy.asarray([0.5, 1.0, 1.0, 2.0]),
    }
    steps = {"learning_rate": rates[:, None].tolist()}
    loss = falling(STEPS) if loss is None else loss
    return build_run(
        path, loss=loss, facts=TEN, tensors=tensors, stats=stats, steps=steps, recorded=recorded, optimizer=optimizer
    )


@pytest.mark.parametrize("recorded", [None, range(0, STEPS, 3)])
def test_it_is_the_root_mean_square_over_the_learning_rate_of_that_step(tmp_path, recorded):
    run = moving(tmp_path / "a", recorded=recorded)
    kept = numpy.arange(STEPS) if recorded is None else numpy.asarray(recorded)
    expected = numpy.where(kept < 40, 0.3, 0.6)[:, None] * numpy.asarray([0.5, 1.0, 1.0, 2.0])
    numpy.testing.assert_allclose(update_rms(run.trainings[0]), expected, rtol=1e-5)
    assert median_update_rms(run.trainings[0]) == pytest.approx(0.6, rel=1e-5)


def test_a_learning_rate_of_zero_has_no_updates_in_its_units(tmp_path):
    run = moving(tmp_path / "a", rates=numpy.zeros(STEPS))
    assert numpy.isnan(update_rms(run.trainings[0])).all()
    assert update_sizes(run) == ""


def test_the_facts_of_a_run_give_it_with_unit_and_source(tmp_path):
    facts = dict(run_facts(moving(tmp_path / "a")))
    assert facts["Update size"] == (
        "0.6 learning rates per element (root mean square, median weight layer), where 0.2 to 0.4 is usual of AdamW "
        "(arXiv 2502.16982); over the last half of the run"
    )


@pytest.mark.parametrize("optimizer", ["SGD", "Lion", "RMSprop"])
def test_of_other_optimizers_nothing_is_usual(tmp_path, optimizer):
    run = moving(tmp_path / "a", optimizer=optimizer)
    assert update_size(run.trainings[0], last_half(run.trainings[0])) == ""
    assert "Update size" not in dict(run_facts(run))


def test_no_updates_have_no_size(tmp_path):
    assert update_sizes(moving(tmp_path / "a", level=0.0)) == ""


def test_a_rate_that_is_too_high_is_told_with_the_size_of_its_update(tmp_path):
    loss = numpy.where(numpy.arange(STEPS) < 40, 2.3, 40.0)
    rates = numpy.where(numpy.arange(STEPS) == 36, 1e-1, 1e-4)
    late = assert_finds(learning_rate_too_high, moving(tmp_path / "a", rates=rates, loss=loss)).explanation
    assert "The update is 0.3 learning rates per element" in late
    assert "first steps" not in late.partition("The update is")[2]
    rates = numpy.where(numpy.arange(STEPS) == 0, 1e-1, 1e-4)
    assert (
        "is usual of AdamW and about 1 at its first steps."
        in assert_finds(learning_rate_too_high, moving(tmp_path / "b", rates=rates, loss=loss)).explanation
    )


def test_a_rate_that_is_too_low_is_told_with_the_size_of_its_updates(tmp_path):
    run = moving(tmp_path / "a", rates=numpy.full(STEPS, 1e-8), loss=numpy.full(STEPS, 2.3))
    seen = assert_finds(learning_rate_too_low, run).explanation
    assert "Over the last half of the run updates are 0.6 learning rates per element" in seen
    run = moving(tmp_path / "b", rates=numpy.full(STEPS, 1e-8), loss=numpy.full(STEPS, 2.3), optimizer="SGD")
    assert "learning rates per element" not in assert_finds(learning_rate_too_low, run).explanation
