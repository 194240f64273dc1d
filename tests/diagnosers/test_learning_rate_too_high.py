import dataclasses

import msgspec
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit.chart_data import Lines
from gradaudit.diagnosers.learning_rate_schedule import learning_rate_schedule
from gradaudit.diagnosers.learning_rate_too_high import (
    OrdinaryUpdates,
    OversizedUpdate,
    UnseenUpdates,
    learning_rate_too_high,
)
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts, OptimizerFacts
from gradaudit.signals.loss.step_harm import Failure, LittleGain, Overshoot
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick import blown_up, diverged_before, fast, jumping, overshooting, stuck_for
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_ordinary_updates_are_quiet(tmp_path):
    run = healthy(tmp_path)
    assert judged(learning_rate_too_high, run, OrdinaryUpdates).ratio == pytest.approx(1e-3)
    measured = assert_clean(learning_rate_too_high, run)
    assert measured.startswith("one step changes the median weight layer by at most 0.001 times its size")


def test_a_large_first_step_of_adagrad_is_quiet(tmp_path):
    assert_clean(learning_rate_too_high, fast(tmp_path / "run", update_ratio=0.47))


def test_a_divergence_between_two_recorded_steps_cannot_be_judged(tmp_path):
    """The largest update may have been one of those that nobody saw."""
    loss = numpy.concatenate([falling(150), numpy.full(150, 40.0)])
    sparse = build_run(tmp_path / "a", loss=loss, facts=TEN, recorded=numpy.arange(0, 300, 10))
    assert judged(learning_rate_too_high, sparse, UnseenUpdates).harm.kind == "divergence"
    assert "updates of most of the 20 steps" in assert_skipped(learning_rate_too_high, sparse)
    healthy_loss = build_run(tmp_path / "b", loss=falling(300), facts=TEN, recorded=numpy.arange(0, 300, 10))
    assert_clean(learning_rate_too_high, healthy_loss)
    assert_clean(learning_rate_too_high, build_run(tmp_path / "c", loss=loss, facts=TEN))


def test_a_loss_that_has_not_moved_yet_is_no_symptom(tmp_path):
    assert_clean(learning_rate_too_high, stuck_for(tmp_path / "short", 150))
    assert_clean(learning_rate_too_high, stuck_for(tmp_path / "few epochs", 300, epochs=2))


def test_layers_that_start_at_zero_are_left_out(tmp_path):
    weight = numpy.full((200, 8), 1.0)
    weight[0] = 0.0
    run = build_run(tmp_path / "run", loss=falling(), stats={"weight_norm": weight, "update_norm": 1.0})
    assert_skipped(learning_rate_too_high, run)


def test_weights_that_decay_ate_do_not_count_as_fast(tmp_path):
    weight = numpy.geomspace(1, 1e-3, 200)[:, None]
    run = build_run(tmp_path / "run", loss=falling(), stats={"weight_norm": weight, "update_norm": 0.02})
    assert_clean(learning_rate_too_high, run)


def test_a_model_without_weight_layers_is_not_judged(tmp_path):
    assert_not_applicable(
        learning_rate_too_high, build_run(tmp_path / "run", loss=falling(), tensors=linear_stack()[1:2])
    )


def test_a_loss_of_unknown_sign_is_no_symptom(tmp_path):
    """A critic's loss may rise as long as it likes."""
    loss = numpy.linspace(1, 50, 300)
    assert_clean(learning_rate_too_high, fast(tmp_path / "run", 0.3, loss, facts=LossFacts(id=0, function="logged")))


def test_replacing_the_weights_without_harm_is_a_note(tmp_path):
    run = fast(tmp_path / "run")
    found = judged(learning_rate_too_high, run, OversizedUpdate)
    assert (found.harm, found.only_early, found.step) == (None, True, 0)
    assert found.ratio == pytest.approx(0.9)
    assert (found.stable.rates, found.stable.lower) == (pytest.approx(1e-3), pytest.approx(1e-4))
    finding = assert_finds(learning_rate_too_high, run, Severity.NOTE)
    assert finding.title == "Oversized update at step 0"
    assert finding.headline == "At step 0 the update of the median weight layer is 0.9 times the size of its weights"
    assert [action.text.partition(" ")[0] for action in finding.actions[:2]] == ["Warm", "Lower"]


def test_replacing_the_weights_for_little_is_a_warning(tmp_path):
    little = fast(tmp_path / "a", loss=falling(300, last=2.0))
    assert judged(learning_rate_too_high, little, OversizedUpdate).harm == LittleGain(
        "start", pytest.approx(0.86, abs=0.01)
    )
    assert assert_finds(learning_rate_too_high, little, Severity.WARNING).title == "Learning rate too high"
    assert_finds(
        learning_rate_too_high, fast(tmp_path / "b", update_ratio=0.7, loss=falling(300, last=2.0)), Severity.NOTE
    )


def uniform_start(last):
    """A vocabulary of 100 of which most is one word: the frequencies alone give 1.5, a uniform prediction 4.6."""
    return {
        "loss": falling(300, first=4.6, last=last),
        "facts": LossFacts(id=0, function="cross_entropy", classes=100, label_entropy=1.5),
    }


def test_a_fall_to_the_frequencies_of_the_labels_is_little(tmp_path):
    """28 % of the start, and yet nothing but how often each token occurs."""
    run = fast(tmp_path / "a", **uniform_start(1.3))
    harm = judged(learning_rate_too_high, run, OversizedUpdate).harm
    assert harm == LittleGain("constant", pytest.approx(1.3 / 1.5, abs=0.01))
    assert_finds(learning_rate_too_high, run, Severity.WARNING)
    learned = fast(tmp_path / "b", **uniform_start(1.0))
    assert judged(learning_rate_too_high, learned, OversizedUpdate).harm is None
    assert_finds(learning_rate_too_high, learned, Severity.NOTE)


def test_a_squared_error_on_another_scale_is_not_held_against_its_variance(tmp_path):
    facts = LossFacts(id=0, function="mse_loss", target_variance=1.0)
    run = fast(tmp_path / "run", loss=falling(300, first=100.0, last=2.0), facts=facts)
    assert judged(learning_rate_too_high, run, OversizedUpdate).harm is None
    assert_finds(learning_rate_too_high, run, Severity.NOTE)


def test_a_warmup_that_blows_the_weights_up_for_little_is_a_warning(tmp_path):
    """No single step replaces the weights, and ten of them do."""
    run = blown_up(tmp_path / "a")
    found = judged(learning_rate_too_high, run, OversizedUpdate)
    assert found.ratio == pytest.approx(0.3)
    assert found.growth == (pytest.approx(3), 0)
    assert found.grows
    assert found.harm == LittleGain("start", pytest.approx(0.86, abs=0.01))
    assert (found.span.first, found.span.last) == (0, 10)
    stable = found.stable
    assert (stable.peak, stable.rates, stable.lower) == tuple(
        pytest.approx(rate, rel=0.01) for rate in (0.01, 3.33e-4, 1e-4)
    )
    assert (stable.step, stable.warming_up) == (0, True)
    finding = assert_finds(learning_rate_too_high, run, Severity.WARNING)
    assert [measure.value for measure in finding.measures[:2]] == pytest.approx([0.3, 3])
    assert not any("warm up" in action.text for action in finding.actions)
    assert_clean(learning_rate_too_high, blown_up(tmp_path / "b", by=1.9))
    assert_clean(learning_rate_too_high, blown_up(tmp_path / "c", update_ratio=0.19))
    assert_clean(learning_rate_too_high, blown_up(tmp_path / "d", last=0.3))


def test_batches_that_differ_three_times_do_not_overshoot(tmp_path):
    """The loss of a small regression: its first batch may be the easiest of all."""
    random = numpy.random.default_rng(0)
    loss = falling(300, first=10.0, last=0.1, noise=0) * numpy.exp(0.8 * random.standard_normal(300))
    loss[0], loss[4] = 3.0, 20.0
    run = fast(tmp_path / "run", loss=loss, facts=LossFacts(id=0, function="smooth_l1_loss"))
    assert judged(learning_rate_too_high, run, OversizedUpdate).harm is None
    assert_finds(learning_rate_too_high, run, Severity.NOTE)
    steady = falling(300, first=10.0, last=0.1)
    steady[0], steady[4] = 3.0, 20.0
    run = fast(tmp_path / "steady", loss=steady, facts=LossFacts(id=0, function="smooth_l1_loss"))
    harm = judged(learning_rate_too_high, run, OversizedUpdate).harm
    assert harm == Overshoot("largest", pytest.approx(20 / 3))
    assert "jumps to 6.7 times its start" in assert_finds(learning_rate_too_high, run, Severity.WARNING).explanation


def test_one_term_of_several_is_no_harm(tmp_path):
    loss = falling(300)
    loss[1:6] = 5.0
    steps = {"objective": loss + numpy.linspace(0, 30, 300)}
    run = fast(tmp_path / "a", loss=loss, steps=steps)
    assert judged(learning_rate_too_high, run, OversizedUpdate).harm is None
    assert_finds(learning_rate_too_high, run)


def test_the_learning_rate_that_is_proposed_follows_the_size_of_the_update(tmp_path):
    loss = falling(300)
    loss[20:] = 30.0
    for update_ratio, proposed in ((0.25, 3e-4), (7.0, 1e-5), (300.0, 3e-7)):
        run = fast(tmp_path / str(update_ratio), update_ratio, loss)
        assert judged(learning_rate_too_high, run, OversizedUpdate).stable.lower == pytest.approx(proposed)
        finding = assert_finds(learning_rate_too_high, run, Severity.CRITICAL)
        assert finding.actions[0].text.startswith("Lower the learning rate from 0.001 to ")
        # A warmup to a rate that is ten times too high or more only puts the harm off.
        assert any("warm up" in action.text for action in finding.actions) is (update_ratio == 0.25)
    assert (finding.span.first, finding.span.last) == (0, 4)
    charts = [evidence for evidence in finding.evidence if isinstance(evidence, Lines)]
    assert [chart.title for chart in charts] == ["Update-to-weight ratio", "Training loss"]


def test_a_run_away_is_traced_to_its_first_step(tmp_path):
    """What the updates grow to is the doing of the first one: 3e-20 would be no learning rate to try."""
    update = numpy.full((200, 8), 1e-3)
    update[:4] = numpy.array([0.01, 0.5, 300.0, 1e17])[:, None]
    loss = numpy.concatenate([[2.3, 2.3, 9.0], numpy.full(197, 1e9)])
    run = build_run(tmp_path / "run", loss=loss, facts=TEN, stats={"update_norm": update})
    stable = judged(learning_rate_too_high, run, OversizedUpdate).stable
    assert (stable.step, stable.ratio, stable.lower) == (1, pytest.approx(0.5), pytest.approx(2e-4))
    assert_finds(learning_rate_too_high, run, Severity.CRITICAL)


def test_a_line_search_may_take_a_long_step(tmp_path):
    assert_finds(learning_rate_too_high, fast(tmp_path / "run", update_ratio=3.0, optimizer="LBFGS"), Severity.NOTE)


def test_half_the_weights_is_a_note(tmp_path):
    assert_finds(learning_rate_too_high, fast(tmp_path / "run", update_ratio=0.6), Severity.NOTE)


def test_half_the_weights_with_an_early_overshoot_is_a_warning(tmp_path):
    assert_finds(learning_rate_too_high, overshooting(tmp_path / "a", by=1.7), Severity.WARNING)
    assert_finds(learning_rate_too_high, jumping(tmp_path / "b"), Severity.WARNING)


def test_divergence_makes_it_critical(tmp_path):
    loss = falling(300)
    loss[20:] = 30.0
    run = fast(tmp_path / "run", 0.25, loss)
    assert judged(learning_rate_too_high, run, OversizedUpdate).harm == Failure("divergence", 22)
    assert_finds(learning_rate_too_high, run, Severity.CRITICAL)


def test_learning_nothing_makes_it_critical(tmp_path):
    assert_finds(learning_rate_too_high, stuck_for(tmp_path / "a", 300), Severity.CRITICAL)
    assert_finds(learning_rate_too_high, stuck_for(tmp_path / "b", 150, epochs=5), Severity.CRITICAL)


def test_growth_to_nan_makes_it_critical(tmp_path):
    assert_finds(learning_rate_too_high, diverged_before(tmp_path / "run"), Severity.CRITICAL)


def test_a_nan_out_of_the_blue_does_not(tmp_path):
    loss = flat(100)
    loss[50:] = float("nan")
    assert_clean(learning_rate_too_high, fast(tmp_path / "run", 0.25, loss))


@settings(max_examples=10, deadline=None)
@given(exponent=st.floats(-4, 4), update_ratio=st.sampled_from([0.1, 0.6, 0.9]))
def test_scaling_the_loss_changes_nothing(tmp_path_factory, exponent, update_ratio):
    path, scale = tmp_path_factory.mktemp("scaled"), 10**exponent
    facts = LossFacts(id=0, function="mse_loss", target_variance=scale)
    loss = scale * falling(300, first=1.0, last=0.1)
    run = fast(path / "run", update_ratio, loss, facts=facts)
    expected = {0.1: None, 0.6: Severity.NOTE, 0.9: Severity.NOTE}[update_ratio]
    if expected is None:
        assert_clean(learning_rate_too_high, run)
    else:
        assert_finds(learning_rate_too_high, run, expected)


@pytest.mark.parametrize("every", [1, 4])
def test_thinned_statistics_still_show_the_early_maximum(tmp_path, every):
    recorded = numpy.arange(0, 300, every)
    update = numpy.where(recorded < 5, 0.9, 1e-3)[:, None]
    run = build_run(tmp_path / "run", loss=falling(300), facts=TEN, recorded=recorded, stats={"update_norm": update})
    assert_finds(learning_rate_too_high, run, Severity.NOTE)


def test_a_loss_that_is_maximized_is_no_symptom(tmp_path):
    loss, stats = numpy.geomspace(2.3, 500, 200), {"update_norm": 0.45}
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, stats=stats)
    assert_finds(learning_rate_too_high, run, Severity.CRITICAL)
    facts = OptimizerFacts(id=0, optimizer_class="SGD", defaults={"maximize": True})
    run = dataclasses.replace(run, meta=msgspec.structs.replace(run.meta, optimizers=[facts]))
    assert_clean(learning_rate_too_high, run)


def test_a_rate_that_the_schedule_raised_is_not_to_be_warmed_up_to(tmp_path):
    loss = numpy.interp(numpy.arange(300), [0, 150, 299], [2.3, 1.0, 30.0])
    update_ratio = numpy.geomspace(1e-3, 5.0, 300)[:, None]
    rates = [[1e-3 * 1.03**step] for step in range(300)]
    run = build_run(
        tmp_path / "a", loss=loss, facts=TEN, stats={"update_norm": update_ratio}, steps={"learning_rate": rates}
    )
    finding = assert_finds(learning_rate_too_high, run, Severity.CRITICAL)
    assert finding.actions[0] == assert_finds(learning_rate_schedule, run).actions[0]
    assert not any("warm up" in action.text for action in finding.actions)
