import numpy
import pytest

from gradaudit.chart_data import Lines
from gradaudit.diagnosers.loss_spike import NoSpike, OftenHigh, Spiking, loss_spike
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, healthy
from tests.diagnosers.sick_facts import spiking
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_a_falling_loss_is_quiet(tmp_path):
    run = healthy(tmp_path)
    assert_clean(loss_spike, run)
    assert judged(loss_spike, run, NoSpike).steps == 200


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
    assert_skipped(loss_spike, build_run(tmp_path / "b", loss=falling(99)))


def test_a_spike_is_a_note(tmp_path):
    run = spiking(tmp_path / "a", height=1.0)
    found = judged(loss_spike, run, Spiking)
    assert 200 <= found.spikes.top < 210
    assert 200 <= found.span.first <= 204
    assert (found.times, found.every, found.undoes) == (1, 0, False)
    assert_finds(loss_spike, run, Severity.NOTE)


def test_one_that_undoes_what_was_gained_is_a_warning(tmp_path):
    run = spiking(tmp_path / "a")
    assert judged(loss_spike, run, Spiking).undone >= 1
    finding = assert_finds(loss_spike, run, Severity.WARNING)
    assert "undoes all of the improvement since the first steps" in finding.explanation


def test_a_first_batch_far_off_decides_nothing(tmp_path):
    random = numpy.random.default_rng(0)
    loss = numpy.linspace(2.3, 2.0, 400) * random.normal(1, 0.01, 400)
    loss[200:208] += 2.0
    run = build_run(tmp_path / "small", loss=loss, facts=TEN)
    found = judged(loss_spike, run, Spiking)
    assert (found.undone, found.undoes) == (0, False), "less than 10 % was gained"
    finding = assert_finds(loss_spike, run, Severity.NOTE)
    assert finding.measures[-1].quantity == "gain so far / start"
    assert finding.measures[-1].met is False
    loss = falling(400)
    loss[200:208] += 2.5
    loss[0] = 100.0
    run = build_run(tmp_path / "high", loss=loss, facts=TEN)
    undone = assert_finds(loss_spike, run, Severity.WARNING, share=0.0).measures[-1]
    assert (undone.option, undone.decides) == ("undone", "warning")
    assert undone.value == judged(loss_spike, run, Spiking, share=0.0).undone > 1
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


def test_the_steps_and_the_height_are_those_of_the_losses_and_not_of_their_median(tmp_path):
    loss = falling(400, noise=0.001)
    loss[200:205] += numpy.asarray([1.0, 1.4, 1.8, 1.4, 1.0])
    run = build_run(tmp_path / "a", loss=loss, facts=TEN)
    found = judged(loss_spike, run, Spiking)
    assert (found.span.first, found.span.last, found.spikes.top) == (200, 204, 202)
    assert found.spikes.steps.tolist() == [200, 201, 202, 203, 204]
    assert found.window == 5
    finding = assert_finds(loss_spike, run)
    assert finding.title == "Loss spike at step 202"
    assert "at step 202 and recovers" in finding.headline


def test_the_charts_show_the_steps_around_the_spike_one_by_one(tmp_path):
    run = spiking(tmp_path / "a")
    finding = assert_finds(loss_spike, run)
    chart = finding.evidence[0]
    assert isinstance(chart, Lines)
    assert chart.title == "Training loss, steps 175 to 232"
    assert chart.series[0].x == list(range(175, 233))
    assert max(chart.series[0].y) == pytest.approx(run.steps["mean_loss"].iloc[175:233].max(), rel=1e-3)


def test_a_rate_that_jumps_just_before_is_to_be_mended_first(tmp_path):
    rates = [[0.4 if step == 199 else 0.004] for step in range(400)]
    run = spiking(tmp_path / "a", steps={"learning_rate": rates})
    assert judged(loss_spike, run, Spiking).jump == 199
    finding = assert_finds(loss_spike, run)
    assert finding.actions[0].text == "Find what sets the learning rate to 0.4 at step 199"
    assert not any("lower the learning rate" in action.text for action in finding.actions)
    rates[199], rates[180] = [0.004], [0.4]
    run = spiking(tmp_path / "b", steps={"learning_rate": rates})
    assert judged(loss_spike, run, Spiking).jump is None
    finding = assert_finds(loss_spike, run)
    assert finding.actions[0].text.startswith("Look at the batches of step 200")


def test_a_rise_of_a_few_steps_in_seven_that_comes_back_is_a_spike(tmp_path):
    loss = falling()
    loss[50:80] = 8.0
    run = build_run(tmp_path / "a", loss=loss, facts=TEN)
    found = judged(loss_spike, run, Spiking)
    assert found.span.first == 50
    assert found.undone >= 1
    assert_finds(loss_spike, run, Severity.WARNING)


def test_a_loss_that_is_up_as_often_as_not_has_no_spikes(tmp_path):
    loss = falling(1000)
    for at in (200, 400, 500, 750):
        loss[at : at + 20] += 2.0
    run = build_run(tmp_path / "a", loss=loss, facts=TEN)
    found = judged(loss_spike, run, OftenHigh)
    assert (found.times, found.steps) == (4, 1000)
    assert found.share == pytest.approx(0.08)
    assert_clean(loss_spike, run)


def test_spikes_at_equal_distances_are_the_doing_of_the_script(tmp_path):
    loss = falling(1000)
    for at in range(200, 1000, 200):
        loss[at : at + 6] += 2.0
    run = build_run(tmp_path / "a", loss=loss, facts=TEN)
    found = judged(loss_spike, run, Spiking)
    assert (found.every, found.times) == (200, 4)
    finding = assert_finds(loss_spike, run, Severity.NOTE)
    assert finding.title == "Loss spike every 200 steps"
    assert finding.actions[0].text.startswith("Find what the script does every 200 steps: the update of a target")
    assert "broken" not in " ".join(action.text for action in finding.actions)
    loss = falling(1000)
    for at in (200, 300, 800):
        loss[at : at + 6] += 2.0
    finding = assert_finds(loss_spike, build_run(tmp_path / "b", loss=loss, facts=TEN), Severity.WARNING)
    assert "is one of them broken" in finding.actions[0].text


def test_targets_that_move_jump_as_they_like(tmp_path):
    parts = [[10, float(index), 0.1, 1.0, 0.1] for index in range(16)]
    facts = LossFacts(id=0, function="smooth_l1_loss", target_parts=parts)
    assert "their mean goes from 1.50 to 13.5" in assert_not_applicable(
        loss_spike, spiking(tmp_path / "a", facts=facts)
    )
