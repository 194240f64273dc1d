import numpy
import pytest

from gradaudit.audit.runner import analyze
from gradaudit.diagnosers.learning_rate_schedule import Decayed, learning_rate_schedule
from gradaudit.findings import Severity
from gradaudit.signals.loss.plateaus import decayed_too_early
from gradaudit.signals.updates.increasing_schedule import MonotonicIncrease, sound
from gradaudit.signals.updates.rate_course import RateCourse
from gradaudit.signals.updates.rate_jumps import HarmfulJump
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_facts import climbing_stairs, collapsing, warming
from tests.diagnosers.sick_layers import caught
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged

T = numpy.linspace(0, 1, 200)
HEALTHY = {
    "cosine": 0.5 * (1 + numpy.cos(numpy.pi * T)),
    "linear": 1 - T,
    "one cycle": numpy.where(T < 0.3, 0.04 + T / 0.3, numpy.cos(numpy.pi / 2 * (T - 0.3) / 0.7) ** 2),
    "warm restarts": 0.5 * (1 + numpy.cos(numpy.pi * (4 * T % 1))),
    "steps": numpy.where(T < 0.4, 1.0, numpy.where(T < 0.8, 0.1, 0.01)),
    "warmup, then constant": numpy.minimum(1, 5 * T + 0.01),
}


@pytest.mark.parametrize("shape", HEALTHY)
def test_common_schedules_are_quiet(tmp_path, shape):
    rates = [[1e-3 * float(value)] for value in HEALTHY[shape]]
    assert_clean(
        learning_rate_schedule, build_run(tmp_path / "a", loss=falling(), facts=TEN, steps={"learning_rate": rates})
    )


def test_a_constant_rate_is_quiet(tmp_path):
    run = healthy(tmp_path)
    found = judged(learning_rate_schedule, run, RateCourse)
    assert (found.constant, found.groups, found.top) == (True, 1, pytest.approx(1e-3))
    assert assert_clean(learning_rate_schedule, run) == "the learning rate is 0.001 at every step"


def test_a_rate_lowered_on_a_plateau_is_quiet(tmp_path):
    assert_clean(learning_rate_schedule, collapsing(tmp_path / "a", loss=flat(200, 1.0)))


def test_a_loss_that_goes_on_falling_is_quiet(tmp_path):
    assert_clean(learning_rate_schedule, collapsing(tmp_path / "a", loss=numpy.linspace(2.3, 0.3, 200)))


def test_an_unknown_rate_cannot_be_judged(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), steps={"learning_rate": [[]] * 200})
    assert_skipped(learning_rate_schedule, run)


def test_a_collapse_that_stops_the_loss_is_a_note(tmp_path):
    run = collapsing(tmp_path / "a")
    found = judged(learning_rate_schedule, run, Decayed)
    assert (found.decay.at, found.decay.steps, found.decay.at_once) == (80, 200, False)
    assert (found.decay.share_of_peak, found.decay.rest) == (pytest.approx(1e-3), pytest.approx(0.6))
    finding = assert_finds(learning_rate_schedule, run, Severity.NOTE)
    assert finding.title == "Learning rate decayed too early"
    assert finding.headline == "The learning rate falls to 0.1 % of its peak by step 80, with 60 % of the run to go"
    assert [measure.value for measure in finding.measures[:2]] == pytest.approx([1e-3, 0.4])
    assert finding.actions[0].code.endswith("T_max=200)")
    assert "when stepped once a batch" in finding.actions[0].text


def gone_from(path, step, update=0.0):
    """A loss that is at its end after 50 steps, and a learning rate of 0 from `step` on."""
    loss = 0.1 + 2.2 * numpy.exp(-numpy.arange(200) / 5)
    moved = numpy.where(numpy.arange(200) < step, 1e-3, update)[:, None]
    rates = [[1e-3 if at < step else 0.0] for at in range(200)]
    return build_run(path, loss=loss, facts=TEN, steps={"learning_rate": rates}, stats={"update_norm": moved})


def test_a_rate_of_0_is_told_whatever_the_loss_does(tmp_path):
    run = gone_from(tmp_path / "a", 80)
    found = judged(learning_rate_schedule, run, Decayed)
    assert (found.gain, found.stopped) == (None, None)
    assert (found.decay.at, found.decay.steps, found.decay.rate, found.decay.at_once) == (80, 200, 0, True)
    assert found.decay.peak == found.decay.previous == pytest.approx(1e-3)
    assert (found.span.first, found.span.last) == (80, 199)
    finding = assert_finds(learning_rate_schedule, run, Severity.NOTE)
    assert finding.title == "Learning rate is 0 from step 80"
    assert finding.explanation == "It falls from 0.001 to 0. The last 120 steps change no parameter."


def test_a_rate_of_0_at_the_end_or_beside_steps_that_move_is_quiet(tmp_path):
    assert_clean(learning_rate_schedule, gone_from(tmp_path / "late", 170))
    assert_clean(learning_rate_schedule, gone_from(tmp_path / "moving", 80, update=1e-3))


@pytest.mark.parametrize(
    ("floor", "said"),
    [
        (0.0, "is 0 from step 80 on"),
        (1e-9, "falls to 1e-12 by step 80"),
        (1e-5, "falls to 1/100,000 of its peak by step 80"),
    ],
)
def test_a_rate_of_zero_is_no_share_of_its_peak(tmp_path, floor, said):
    """StepLR with a gamma of 0, and not one part in a billion."""
    finding = assert_finds(learning_rate_schedule, collapsing(tmp_path / "a", floor=floor), Severity.NOTE)
    assert finding.headline == f"The learning rate {said}, with 60 % of the run to go"


def test_a_warmup_in_steps_that_is_stepped_once_an_epoch_is_a_warning(tmp_path):
    run = climbing_stairs(tmp_path / "a")
    found = judged(learning_rate_schedule, run, MonotonicIncrease)
    assert (found.first, found.last, found.made_with) == pytest.approx((1e-4, 1e-3, 0.01))
    assert (found.changes, found.in_epochs, found.harm) == (9, True, None)
    finding = assert_finds(learning_rate_schedule, run, Severity.WARNING)
    assert finding.title == "Scheduler stepped once an epoch"
    assert [measure.value for measure in finding.measures] == pytest.approx([10, 9, 0.1])
    assert finding.actions[0].text == "Call scheduler.step() once a batch, after optimizer.step()"


def test_stairs_may_be_few_and_need_not_be_epochs(tmp_path):
    """What rises to the last step is told all the same, and not why."""
    few = climbing_stairs(tmp_path / "few", epochs=4)
    between = climbing_stairs(tmp_path / "between", off=7)
    whole = climbing_stairs(tmp_path / "whole", whole=1.2e-3)
    stopped = climbing_stairs(tmp_path / "stopped", state="interrupted")
    assert_skipped(learning_rate_schedule, few)
    for run in (between, whole, stopped):
        finding = assert_finds(learning_rate_schedule, run, Severity.NOTE)
        assert finding.title == "Warmup never ends"
        assert finding.measures[0].value == pytest.approx(10)


def test_stairs_that_end_in_a_landing_are_quiet(tmp_path):
    rates = [[1e-4 * min(5, 1 + step // 20)] for step in range(200)]
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, steps={"learning_rate": rates})
    assert_clean(learning_rate_schedule, run)


def test_a_warmup_that_never_ends_is_a_note(tmp_path):
    run = warming(tmp_path / "a")
    found = judged(learning_rate_schedule, run, MonotonicIncrease)
    assert (found.first, found.last) == pytest.approx((1e-5, 1e-3))
    assert (found.harm, found.in_epochs) == (None, False)
    finding = assert_finds(learning_rate_schedule, run, Severity.NOTE)
    assert finding.headline == "The learning rate rises to the end, from 1e-5 to 0.001"


def drifting(path, growth=1.03, back=2.0, steps=200):
    """The rate grows by `growth` a step, and a loss that had fallen for half of the run climbs to `back`."""
    at = numpy.arange(steps)
    loss = numpy.interp(at, [0, steps / 2, steps - 1], [2.3, 1.0, back])
    rates = [[1e-3 * growth**step] for step in range(steps)]
    return build_run(path, loss=loss, facts=TEN, steps={"learning_rate": rates})


def test_a_rate_that_rises_until_the_loss_comes_up_again_is_the_root(tmp_path):
    run = drifting(tmp_path / "a", back=9.0)
    found = judged(learning_rate_schedule, run, MonotonicIncrease)
    assert found.since == 38, "the step at which the rate has risen threefold: 1.03 ** 38"
    assert found.harm.since == 100
    assert sound(found.harm) == pytest.approx(1e-3 * 1.03**100 / 3, rel=0.05)
    finding = assert_finds(learning_rate_schedule, run, Severity.NOTE)
    assert finding.title == "Learning rate keeps rising"
    assert finding.actions[0].code.endswith("total_steps=200, cycle_momentum=False)")
    root = analyze(run).ranked[0]
    assert root.diagnoser == "learning_rate_schedule"
    below = {item.diagnoser: item.finding for item in root.consequences}
    assert below["divergence"].severity is Severity.CRITICAL
    assert below["divergence"].actions[0] == finding.actions[0], "one advice for both"


def test_a_rate_that_rises_while_the_loss_falls_led_to_nothing(tmp_path):
    assert assert_finds(learning_rate_schedule, warming(tmp_path / "a")).caused == []


def test_a_loss_that_never_fell_is_not_driven_up_by_the_rate_that_rises(tmp_path):
    rates = [[1e-3 * 1.03**step] for step in range(200)]
    loss = numpy.geomspace(2.3, 50, 200)
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"learning_rate": rates})
    assert assert_finds(learning_rate_schedule, run).caused == []


def test_a_loss_that_comes_up_before_the_rate_has_risen_is_not_driven_up_by_it(tmp_path):
    assert_clean(learning_rate_schedule, drifting(tmp_path / "a", growth=1.005))
    loss = numpy.interp(numpy.arange(200), [0, 20, 60, 199], [2.3, 1.0, 9.0, 9.0])
    rates = [[1e-3 * 1.01**step] for step in range(200)]
    run = build_run(tmp_path / "b", loss=loss, facts=TEN, steps={"learning_rate": rates})
    assert assert_finds(learning_rate_schedule, run).caused == []


def test_a_rate_wrong_for_one_step_is_no_restart(tmp_path):
    rates = [[0.1 if step == 100 else 1e-3] for step in range(200)]
    loss = numpy.linspace(2.3, 1.0, 200) + numpy.where(numpy.arange(200) >= 100, 0.5, 0.0)
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"learning_rate": rates})
    found = judged(learning_rate_schedule, run, HarmfulJump)
    assert (found.step, found.new, found.back) == (100, pytest.approx(0.1), (101, pytest.approx(1e-3)))
    assert found.for_once
    finding = assert_finds(learning_rate_schedule, run, Severity.NOTE)
    assert finding.title == "Learning rate jump at step 100"
    assert finding.measures[0].value == found.times == pytest.approx(100)
    assert finding.actions[0].text.endswith("so it is no restart")


def test_a_hundredth_in_float32_is_a_hundredth(tmp_path):
    rates = [[0.05] if step < 80 else [0.05 * 0.01] if step < 120 else [0.05 * 1e-3] for step in range(200)]
    loss = numpy.linspace(2.3, 1.3, 200)
    loss[80:] = loss[80]
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"learning_rate": rates})
    assert judged(learning_rate_schedule, run, Decayed).decay.at == 80
    assert decayed_too_early(run.trainings[0], 0.01).start == 80


def test_a_schedule_that_ends_too_early_is_the_root_of_the_plateau_with_the_same_numbers(tmp_path):
    run = collapsing(tmp_path / "a", loss=numpy.maximum(2.3 - 0.015 * numpy.arange(200), 1.1))
    root = analyze(run).ranked[0]
    assert root.diagnoser == "learning_rate_schedule"
    plateau = next(item.finding for item in root.consequences if item.diagnoser == "premature_plateau")
    assert plateau.severity is Severity.WARNING
    words = "From step 39 to step 80, over the second half of the summed learning rate, the loss fell from 1."
    assert words in root.finding.explanation
    assert root.finding.explanation.partition("From step 39")[2] == plateau.explanation.partition("From step 39")[2]


def test_the_largest_of_several_rates_is_called_so(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), steps={"learning_rate": [[0.008, 0.2]] * 200})
    found = judged(learning_rate_schedule, run, RateCourse)
    assert (found.groups, found.top) == (2, pytest.approx(0.2))
    assert assert_clean(learning_rate_schedule, run).startswith("the largest learning rate of all groups is 0.2")


def jumping(path, times=30.0, rise=0.5):
    """Every 50 steps the rate is `times` as high for five steps, and the loss stands `rise` higher for 20."""
    at = numpy.arange(200)
    loss = numpy.linspace(2.3, 1.0, 200) + numpy.where((at >= 50) & (at % 50 < 20), rise, 0.0)
    rates = [[1e-3 * (times if step % 50 < 5 else 1)] for step in range(200)]
    return build_run(path, loss=loss, facts=TEN, steps={"learning_rate": rates})


def test_restarts_that_raise_the_loss_are_a_note(tmp_path):
    run = jumping(tmp_path / "a")
    found = judged(learning_rate_schedule, run, HarmfulJump)
    assert (found.times, found.old) == pytest.approx((30, 1e-3))
    assert (found.jumps, found.last, found.for_once) == ((50, 100, 150), 150, False)
    assert found.rise > 0.02
    finding = assert_finds(learning_rate_schedule, run, Severity.NOTE)
    assert finding.title == "Learning rate restart too high"
    assert finding.headline.startswith("The learning rate jumps 30-fold at 3 steps from step 50, and the loss rises")
    assert "0.003 or less" in finding.actions[0].text


def test_a_jump_before_the_loss_can_be_compared_counts_when_a_later_one_does_harm(tmp_path):
    rates = [[1e-3 * (30.0 if step in (1, 100) else 1)] for step in range(200)]
    loss = numpy.linspace(2.3, 1.0, 200) + numpy.where(numpy.arange(200) >= 100, 0.5, 0.0)
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"learning_rate": rates})
    found = judged(learning_rate_schedule, run, HarmfulJump)
    assert (found.jumps, found.step) == ((1, 100), 100)
    assert assert_finds(learning_rate_schedule, run, Severity.NOTE).span.first == 1


def test_restarts_that_do_no_harm_are_quiet(tmp_path):
    assert_clean(learning_rate_schedule, jumping(tmp_path / "a", rise=0.02))
    assert_clean(learning_rate_schedule, jumping(tmp_path / "b", times=2.9))


def test_a_loss_that_ends_at_a_restart_is_told(tmp_path):
    loss = numpy.where(numpy.arange(200) > 50, numpy.nan, numpy.linspace(2.3, 1.0, 200))
    rates = [[0.1 if step == 50 else 1e-3] for step in range(200)]
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"learning_rate": rates})
    assert not numpy.isfinite(judged(learning_rate_schedule, run, HarmfulJump).rise)
    finding = assert_finds(learning_rate_schedule, run, Severity.NOTE)
    assert "the loss becomes NaN or infinite" in finding.headline


def test_a_group_that_appears_later_does_not_jump(tmp_path):
    loss = numpy.linspace(2.3, 1.0, 200) + numpy.where(numpy.arange(200) >= 100, 0.5, 0.0)
    rates = [[1e-3] if step < 100 else [1e-3, 0.1] for step in range(200)]
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, steps={"learning_rate": rates})
    assert_clean(learning_rate_schedule, run)


def test_a_plateau_that_begins_where_the_rate_is_gone_is_its_consequence(tmp_path):
    rates = [[1e-3 if step < 104 else 1e-6] for step in range(400)]
    run = caught(tmp_path / "a", steps_columns={"learning_rate": rates})
    audit = analyze(run, thresholds={"premature_plateau.spent": 0.0})  # the note of a gradient that is gone
    root = next(item for item in audit.ranked if item.diagnoser == "learning_rate_schedule")
    assert "premature_plateau" in [item.diagnoser for item in root.consequences]
