import numpy
import pytest

from gradaudit.diagnosers.loss_spike import loss_spike
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, healthy
from tests.diagnosers.sick_facts import spiking
from tests.diagnosers.verbs import assert_clean, assert_could_not_look, assert_finds, assert_not_applicable


def test_a_falling_loss_is_quiet(tmp_path):
    assert assert_clean(loss_spike, healthy(tmp_path)) == "no spike that the loss comes back from in 200 steps"


def test_one_bad_batch_is_quiet(tmp_path):
    assert_clean(loss_spike, spiking(tmp_path / "a", height=20.0, width=1))


def test_a_small_bump_is_quiet(tmp_path):
    assert_clean(loss_spike, spiking(tmp_path / "a", height=0.1))


def test_the_noise_of_single_examples_is_quiet(tmp_path):
    loss = numpy.random.default_rng(0).exponential(1.0, 800)
    assert_clean(loss_spike, build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"targets": 1}))


def test_the_first_steps_are_left_out(tmp_path):
    loss = falling(400)
    loss[10:20] = 9.0
    assert_clean(loss_spike, build_run(tmp_path / "a", loss=loss, facts=TEN))


def test_a_loss_that_does_not_come_back_is_no_spike(tmp_path):
    assert_clean(loss_spike, spiking(tmp_path / "a", width=200))


def test_unknown_losses_and_short_runs_are_not_judged(tmp_path):
    assert_not_applicable(loss_spike, spiking(tmp_path / "a", facts=LossFacts(id=0, function="logged")))
    assert_could_not_look(loss_spike, build_run(tmp_path / "b", loss=falling(99)))


def test_a_spike_is_a_note(tmp_path):
    finding = assert_finds(loss_spike, spiking(tmp_path / "a", height=1.0), Severity.NOTE)
    assert "times its trend at step 20" in finding.headline
    assert 200 <= finding.span.first <= 204


def test_one_that_undoes_what_was_gained_is_a_warning(tmp_path):
    finding = assert_finds(loss_spike, spiking(tmp_path / "a"), Severity.WARNING)
    assert "undoes all of what had been gained since the first steps" in finding.seen


def test_a_first_batch_far_off_decides_nothing(tmp_path):
    random = numpy.random.default_rng(0)
    loss = numpy.linspace(2.3, 2.0, 400) * random.normal(1, 0.01, 400)
    loss[200:208] += 2.0
    run = build_run(tmp_path / "small", loss=loss, facts=TEN)
    finding = assert_finds(loss_spike, run, Severity.NOTE)
    assert "undoes" not in finding.seen, "less than 10 % was gained"
    assert finding.measures[-1].observed == "a gain under 10 % of the start"
    loss = falling(400)
    loss[200:208] += 2.5
    loss[0] = 100.0
    finding = assert_finds(loss_spike, build_run(tmp_path / "high", loss=loss, facts=TEN), Severity.WARNING, share=0.0)
    assert "undoes all of" in finding.seen
    assert finding.measures[-1].observed == "100 % or more"
    loss[0] = 0.7
    assert_finds(loss_spike, build_run(tmp_path / "low", loss=loss, facts=TEN), Severity.WARNING)


def test_the_slope_of_a_loss_that_falls_fast_hides_no_spike(tmp_path):
    loss = 2.3 * numpy.exp(-numpy.arange(300) / 100) * numpy.random.default_rng(0).normal(1, 0.02, 300)
    loss[200:206] += 0.4
    assert_finds(loss_spike, build_run(tmp_path / "a", loss=loss, facts=TEN), Severity.NOTE)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    loss = falling(400)
    loss[200:208] += 1.0
    facts = LossFacts(id=0, function="mse_loss", target_variance=scale)
    assert_finds(loss_spike, build_run(tmp_path / "a", loss=scale * loss, facts=facts), Severity.NOTE)


def test_the_step_of_the_headline_is_marked_in_every_chart(tmp_path):
    finding = assert_finds(loss_spike, spiking(tmp_path / "a"), Severity.WARNING)
    for chart in finding.evidence:
        assert [mark.label for mark in chart.marks if f"at {mark.label} and" in finding.headline], chart.title
        assert "mark" in chart.caption
