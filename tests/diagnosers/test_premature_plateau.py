import numpy
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.premature_plateau import (
    AbruptPlateau,
    GradualPlateau,
    PlateauAfterDecay,
    premature_plateau,
)
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts
from gradaudit.signals.loss.plateaus import decayed_too_early
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_layers import caught, starving
from tests.diagnosers.sick_weights import as_drawn
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_loss_that_falls_is_quiet(tmp_path):
    assert_clean(premature_plateau, healthy(tmp_path))


@pytest.mark.parametrize("floor", [0.0, 0.5, 1.2])
def test_a_loss_that_approaches_its_floor_is_quiet_whatever_the_gradient(tmp_path, floor):
    loss = falling(600, last=floor, noise=0.01)
    norm = numpy.maximum(loss - floor, 1e-4)
    assert_clean(premature_plateau, build_run(tmp_path / "a", loss=loss, steps={"gradient_norm": norm}, facts=TEN))


def test_a_power_law_is_quiet(tmp_path):
    loss = 0.8 + 1.5 / (1 + numpy.arange(600) / 5)
    norm = (loss - 0.8) ** 2 + 1e-3
    assert_clean(premature_plateau, build_run(tmp_path / "a", loss=loss, steps={"gradient_norm": norm}, facts=TEN))


def test_a_sudden_end_on_a_noisy_floor_keeps_its_gradient_and_is_quiet(tmp_path):
    run = caught(tmp_path / "a", gradient=0.4)
    assert judged(premature_plateau, run, GradualPlateau).plateau.gradient == pytest.approx(0.39, abs=5e-3)
    assert_clean(premature_plateau, run)


def test_a_loss_near_zero_is_quiet(tmp_path):
    assert_clean(premature_plateau, caught(tmp_path / "a", level=0.05))


def test_a_loss_that_never_fell_is_quiet(tmp_path):
    assert_clean(premature_plateau, build_run(tmp_path / "a", loss=flat(300), facts=TEN))


def test_a_plateau_at_the_end_of_the_run_is_quiet(tmp_path):
    assert_clean(premature_plateau, caught(tmp_path / "a", at=300))


def test_other_losses_and_nan_are_not_judged(tmp_path):
    assert_not_applicable(premature_plateau, caught(tmp_path / "a", facts=LossFacts(id=0, function="logged")))
    loss = falling()
    loss[100:] = numpy.nan
    assert_skipped(premature_plateau, build_run(tmp_path / "b", loss=loss, facts=TEN))
    assert_skipped(premature_plateau, build_run(tmp_path / "c", loss=falling(99), facts=TEN))


def test_a_loss_that_is_caught_is_a_note(tmp_path):
    run = caught(tmp_path / "a")
    found = judged(premature_plateau, run, AbruptPlateau)
    assert not found.decayed
    assert (found.rates, found.lower) == (pytest.approx(1e-3), pytest.approx(1e-3 / 3))
    finding = assert_finds(premature_plateau, run, Severity.NOTE)
    assert finding.title == f"Loss plateau since step {found.step}"
    assert finding.headline.startswith("The loss stops falling at step")
    assert [measure.value for measure in finding.measures] == pytest.approx([0.25, 0.5, 0.25, 0.01], rel=0.15)
    assert abs(finding.span.first - 100) < 10
    assert finding.actions[1].text.startswith("Lower the learning rate from 0.001 to 3.33e-4:")


def test_a_learning_rate_that_had_decayed_by_then_is_told(tmp_path):
    rates = [[1e-3 if step < 90 else 2e-5] for step in range(400)]
    run = caught(tmp_path / "a", steps_columns={"learning_rate": rates})
    found = judged(premature_plateau, run, AbruptPlateau)
    assert (found.decayed, found.plateau.rate) == (True, pytest.approx(0.02))
    finding = assert_finds(premature_plateau, run)
    assert "The learning rate had decayed to 2 % of its peak by then." in finding.explanation
    assert finding.actions[1].text.startswith("Keep the learning rate up")


@pytest.mark.parametrize("time", [20, 300])
def test_a_loss_whose_learning_rate_decayed_too_early_is_a_warning(tmp_path, time):
    run = starving(tmp_path / "a", time=time)
    found = judged(premature_plateau, run, PlateauAfterDecay)
    assert (found.step, found.share, found.steps) == (90, 90 / 400, 400)
    assert found.gained_little is (time == 300)
    if found.gained_little:
        assert found.decay.gained == pytest.approx(0.059, abs=5e-4)
    finding = assert_finds(premature_plateau, run, Severity.WARNING)
    assert finding.title == "Loss plateau after learning rate decay"
    assert ("In all it has fallen by 5.9 % of its first value." in finding.explanation) is found.gained_little
    assert finding.measures[0].value == 90 / 400
    assert finding.span.first == 90
    assert "when stepped once a batch" in finding.actions[0].text


def test_the_schedule_that_stopped_it_is_a_warning_too_and_stands_above_it(tmp_path):
    (root,) = analyze(starving(tmp_path / "a"), select=["learning_rate_schedule", "premature_plateau"]).ranked
    assert (root.diagnoser, root.finding.severity) == ("learning_rate_schedule", Severity.WARNING)
    assert [below.diagnoser for below in root.consequences] == ["premature_plateau"]


def lowered(path, lost=None):
    """Two classes, little to learn: 0.69 falls to 0.655 by step 100; the rate is lowered at 300, 400 and 500."""
    at = numpy.arange(1000)
    loss = numpy.interp(at, [0, 100], [0.69, 0.655]) + 0.004 * numpy.random.default_rng(0).standard_normal(1000)
    rates = 0.1 ** (numpy.digitize(at, [300, 400, 500]) + 1.0)
    if lost is not None:
        rates[lost:] = numpy.nan
    return build_run(path, loss=loss, facts=TEN, steps={"learning_rate": [[rate] for rate in rates.tolist()]})


@pytest.mark.parametrize(("fade", "worth"), [(0.9, 0.025), (0.96, 0.0625), (0.98, None)])
def test_a_rate_that_is_gone_before_anything_was_learned_is_a_warning(tmp_path, fade, worth):
    """Noise hides whether the loss fell; 400 steps that are worth 10, or 25, of the first have not begun."""
    loss = 1.2 + 0.05 * numpy.random.default_rng(0).standard_normal(400)
    rates = [[1e-2 * fade**step] for step in range(400)]
    stats = {"weight_norm": 1.0, "weight_max_abs": as_drawn()}
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, stats=stats, steps={"learning_rate": rates})
    decay = decayed_too_early(run.trainings[0], 0.01)
    assert decay is not None
    if worth is None:
        assert decay.worth == pytest.approx(0.125, rel=1e-2)
        assert_clean(premature_plateau, run)
        return
    assert decay.worth == pytest.approx(worth, rel=1e-3)
    assert judged(premature_plateau, run, PlateauAfterDecay).decay.worth == decay.worth
    finding = assert_finds(premature_plateau, run, Severity.WARNING)
    assert f"of all 400 steps add up to {400 * worth:.0f} times the peak" in finding.explanation
    before = build_run(tmp_path / "b", loss=loss, facts=TEN, steps={"learning_rate": rates})
    assert_clean(premature_plateau, before)


def test_a_small_gain_at_rest_when_the_rate_is_lowered_is_quiet(tmp_path):
    run = lowered(tmp_path / "a")
    decay = decayed_too_early(run.trainings[0], 0.01)
    assert decay is not None
    assert 0.03 < decay.gained < 0.1
    assert decay.fell < 0.3 * decay.gained
    assert_clean(premature_plateau, run)


def test_a_gain_within_the_noise_tells_no_fall(tmp_path):
    assert_clean(premature_plateau, starving(tmp_path / "a", time=20_000))


def test_a_rate_that_is_not_known_is_not_gone(tmp_path):
    assert decayed_too_early(lowered(tmp_path / "a", lost=200).trainings[0], 0.01) is None
    rates = [[1e-3] if step < 90 else [numpy.nan] for step in range(400)]
    assert_clean(premature_plateau, caught(tmp_path / "b", gradient=0.4, steps_columns={"learning_rate": rates}))


def test_a_loss_at_rest_when_the_rate_goes_is_quiet(tmp_path):
    assert_clean(premature_plateau, starving(tmp_path / "a", time=2.0, floor=1.0))


def test_a_rate_that_is_gone_at_the_end_is_quiet(tmp_path):
    assert_clean(premature_plateau, starving(tmp_path / "a", fade=0.985))
    assert_clean(premature_plateau, starving(tmp_path / "b", fade=0.95, time=4.0))


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    random = numpy.random.default_rng(0)
    loss = scale * numpy.interp(numpy.arange(400), [0, 100, 400], [1.0, 0.5, 0.5]) * random.normal(1, 0.005, 400)
    norm = scale * numpy.where(numpy.arange(400) < 100, 1.0, 0.01)
    facts = LossFacts(id=0, function="mse_loss", target_variance=scale)
    run = build_run(tmp_path / "a", loss=loss, steps={"gradient_norm": norm}, facts=facts)
    assert_finds(premature_plateau, run, Severity.NOTE)
