import msgspec
import numpy
import pytest

from gradaudit.diagnosers.learning_rate_too_low import (
    Moves,
    NotFinite,
    TooSlow,
    WeightsReplaced,
    learning_rate_too_low,
)
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick import crawling
from tests.diagnosers.sick_weights import as_drawn
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_healthy_updates_are_quiet(tmp_path):
    run = healthy(tmp_path)
    assert judged(learning_rate_too_low, run, Moves).progress.fastest.ratio == pytest.approx(1e-3, rel=0.05)
    measured = assert_clean(learning_rate_too_low, run)
    assert measured.startswith("the fastest weight tensor changes by 0.001 of its size per step")


def test_small_updates_under_a_falling_loss_are_quiet(tmp_path):
    assert_clean(learning_rate_too_low, crawling(tmp_path / "run", last=0.5))


def test_the_slowest_healthy_fine_tuning_is_quiet(tmp_path):
    assert_clean(learning_rate_too_low, crawling(tmp_path / "run", update_ratio=3.5e-4, first=1.9, last=1.65))


def test_one_fast_tensor_is_enough(tmp_path):
    """A frozen-ish backbone under a head that trains is fine."""
    update = numpy.full(8, 1e-6)
    update[6] = 1e-2
    assert_clean(
        learning_rate_too_low, build_run(tmp_path / "r", loss=falling(last=2.25), stats={"update_norm": update})
    )


def test_warmup_and_a_cosine_tail_do_not_count(tmp_path):
    update_ratio = 1e-2 * numpy.sin(numpy.linspace(0, numpy.pi, 200)) ** 8
    run = build_run(tmp_path / "run", loss=falling(last=2.25), stats={"update_norm": update_ratio[:, None] + 1e-7})
    assert_clean(learning_rate_too_low, run)


def test_a_dense_record_of_the_warmup_is_weighed_by_the_steps_it_stands_for(tmp_path):
    recorded = numpy.concatenate([numpy.arange(100), numpy.arange(128, 3000, 64)])
    update_ratio = numpy.where(recorded < 100, 1e-6, 1e-2)
    run = build_run(
        tmp_path / "run", loss=falling(3000, last=2.25), recorded=recorded, stats={"update_norm": update_ratio[:, None]}
    )
    assert_clean(learning_rate_too_low, run)


def test_fifty_steps_are_needed(tmp_path):
    assert "49 steps" in assert_skipped(learning_rate_too_low, crawling(tmp_path / "run", steps=49))


def test_weights_that_stand_still_under_a_flat_loss_are_critical(tmp_path):
    run = crawling(tmp_path / "run")
    found = judged(learning_rate_too_low, run, TooSlow)
    assert found.gain == "still"
    assert found.progress.fastest.ratio == pytest.approx(1e-5)
    assert found.progress.loss.share == pytest.approx(0.023, abs=5e-4)
    assert (found.rate.why, found.rate.clipping) == ("rate too low", None)
    assert (found.rate.rates, found.rate.raised) == (pytest.approx(1e-3), pytest.approx(0.1))
    finding = assert_finds(learning_rate_too_low, run, Severity.CRITICAL)
    assert finding.title == "Learning rate too low"
    assert finding.headline == "The weights change by 1e-5 of their size per step, and the loss falls by 2.3 %"
    assert finding.actions[0].text == "Raise the learning rate from 0.001 to 0.1, then up or down by factors of 3"


def test_a_loss_that_falls_a_little_makes_it_a_warning(tmp_path):
    run = crawling(tmp_path / "run", last=2.0)
    assert judged(learning_rate_too_low, run, TooSlow).gain == "hardly"
    assert_finds(learning_rate_too_low, run, Severity.WARNING)


def test_small_updates_need_100_steps(tmp_path):
    run = crawling(tmp_path / "long", update_ratio=5e-4)
    assert judged(learning_rate_too_low, run, TooSlow).gain == "little"
    assert_finds(learning_rate_too_low, run, Severity.WARNING)
    assert_clean(learning_rate_too_low, crawling(tmp_path / "short", update_ratio=5e-4, steps=90))


def test_small_updates_from_scratch_need_a_gain_of_30_percent(tmp_path):
    run = crawling(tmp_path / "a", update_ratio=3.4e-4, last=1.8)
    assert judged(learning_rate_too_low, run, TooSlow).gain == "scratch"
    finding = assert_finds(learning_rate_too_low, run, Severity.WARNING)
    assert finding.measures[1].value == pytest.approx(0.2, abs=0.005)
    assert_clean(learning_rate_too_low, crawling(tmp_path / "b", update_ratio=3.4e-4, last=1.5))
    assert_clean(
        learning_rate_too_low, crawling(tmp_path / "c", update_ratio=9e-4, last=1.8)
    )  # fine-tuning with a new head


def test_parameters_as_torch_sets_them_show_that_nothing_was_trained_before(tmp_path):
    """Whatever the loss is, and where it starts: of a hand-written one nobody knows what knowing nothing scores."""
    slow = {"loss": falling(200, 0.4, 0.35, noise=1e-3), "facts": LossFacts(id=0, function="triplet_margin_loss")}
    stats = {"update_norm": 3.4e-4, "weight_norm": 1.0, "weight_max_abs": as_drawn()}
    run = build_run(tmp_path / "new", stats=stats, **slow)
    finding = assert_finds(learning_rate_too_low, run, Severity.WARNING)
    assert [measure.value for measure in finding.measures if measure.decides == "warning"] == [1.0]
    before = {**stats, "weight_max_abs": 2 * as_drawn()}
    assert_clean(learning_rate_too_low, build_run(tmp_path / "before", stats=before, **slow))


def test_a_warmup_that_is_not_over_is_a_note(tmp_path):
    steps = {"learning_rate": [[1e-6 * (step + 1)] for step in range(200)]}
    loss = falling(200, 2.31, 1.8, noise=1e-3)
    run = build_run(tmp_path / "a", loss=loss, stats={"update_norm": 3.4e-4}, facts=TEN, steps=steps)
    found = judged(learning_rate_too_low, run, TooSlow)
    assert (found.warming_up, found.trained_before) == (True, False)
    finding = assert_finds(learning_rate_too_low, run, Severity.NOTE)
    assert finding.title == "Warmup not finished"


def test_a_long_run_that_learned_at_once_is_quiet(tmp_path):
    loss = numpy.interp(numpy.arange(5000), [0, 60, 4999], [0.8, 0.12, 0.113])
    facts = LossFacts(id=0, function="l1_loss")
    run = build_run(tmp_path / "a", loss=loss, facts=facts, stats={"update_norm": 9e-4})
    assert_clean(learning_rate_too_low, run)


def test_a_first_batch_that_is_far_off_does_not_hide_it(tmp_path):
    loss = flat(200, 1.0, noise=0.1)
    loss[0] = 1.4
    facts = LossFacts(id=0, function="mse_loss", target_variance=1.0)
    run = build_run(tmp_path / "a", loss=loss, facts=facts, stats={"update_norm": 3e-5})
    assert_finds(learning_rate_too_low, run, Severity.CRITICAL)


def test_a_pretrained_start_makes_it_a_note(tmp_path):
    run = crawling(tmp_path / "run", first=1.5, last=1.48)
    assert judged(learning_rate_too_low, run, TooSlow).trained_before
    finding = assert_finds(learning_rate_too_low, run, Severity.NOTE)
    assert finding.title == "Fine-tuning with tiny updates"


def test_a_clip_threshold_far_below_the_norm_is_named_first(tmp_path):
    steps = {"gradient_norm": 26.0, "clip_threshold": 1.0, "clip_kind": 1}
    run = build_run(
        tmp_path / "run", loss=falling(last=2.25), stats={"update_norm": 1e-5}, steps=steps, optimizer="SGD"
    )
    clipping = judged(learning_rate_too_low, run, TooSlow).rate.clipping
    assert clipping is not None
    assert (clipping.times, clipping.clipped, clipping.below_eps) == (26, 1, False)
    finding = assert_finds(learning_rate_too_low, run)
    assert finding.actions[0].text.startswith("Raise the clip threshold: it is 26 times below the gradient norm")


def test_a_learning_rate_of_zero_is_said(tmp_path):
    run = build_run(
        tmp_path / "run", loss=falling(last=2.3), stats={"update_norm": 0.0}, steps={"learning_rate": [[0.0]] * 200}
    )
    found = judged(learning_rate_too_low, run, TooSlow)
    assert (found.rate_zero, found.rate.why, found.steps) == (True, "rate zero", 200)
    finding = assert_finds(learning_rate_too_low, run, Severity.CRITICAL)
    assert finding.title == "Learning rate zero"
    assert finding.headline.startswith("No weight changes in 200 steps, and the loss")


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_loss_and_gradients_changes_nothing(tmp_path, scale):
    facts = msgspec.structs.replace(TEN, function="huber_loss", classes=0, label_counts=[], label_entropy=None)
    for name, last in (("flat", 2.25), ("falling", 0.3)):
        run = build_run(
            tmp_path / name,
            loss=scale * falling(last=last),
            facts=facts,
            stats={"update_norm": 1e-5, "gradient_norm": 0.1 * scale},
        )
        if name == "flat":
            assert_finds(learning_rate_too_low, run, Severity.CRITICAL)
        else:
            assert_clean(learning_rate_too_low, run)


def test_the_order_of_tensors_does_not_matter(tmp_path):
    tensors = linear_stack()
    update = numpy.geomspace(1e-6, 1e-5, 8)
    turned = [msgspec.structs.replace(tensor, depth=7 - tensor.depth) for tensor in tensors]
    first = build_run(tmp_path / "a", loss=falling(last=2.25), stats={"update_norm": update})
    second = build_run(tmp_path / "b", loss=falling(last=2.25), tensors=turned, stats={"update_norm": update})
    a, b = (assert_finds(learning_rate_too_low, run) for run in (first, second))
    assert (a.headline, a.tensors) == (b.headline, b.tensors)


def test_a_run_that_ends_in_nan_is_not_judged_by_it(tmp_path):
    loss = falling()
    loss[150:] = numpy.nan
    run = build_run(tmp_path / "a", loss=loss, facts=TEN)
    assert judged(learning_rate_too_low, run, NotFinite).since == 150
    assert_skipped(learning_rate_too_low, run)


def test_what_it_measured_says_which_steps_the_losses_are_of(tmp_path):
    run = healthy(tmp_path)
    loss = judged(learning_rate_too_low, run, Moves).progress.loss
    assert (loss.start_steps, loss.last_steps) == (10, 20)
    measured = assert_clean(learning_rate_too_low, run)
    assert "(median of the first 10 steps)" in measured
    assert "(mean of the last 20)" in measured


def test_what_stands_still_after_a_step_that_replaced_the_weights_is_left_to_it(tmp_path):
    """Dead units have no gradient: a larger learning rate moves them no more than a smaller one."""
    update = numpy.zeros((200, 1))
    update[0] = 4.0
    run = build_run(tmp_path / "a", loss=flat(200), facts=TEN, stats={"update_norm": update})
    assert judged(learning_rate_too_low, run, WeightsReplaced).ratio == 4.0
    assert_not_applicable(learning_rate_too_low, run)
    update[0] = 0.4
    run = build_run(tmp_path / "b", loss=flat(200), facts=TEN, stats={"update_norm": update})
    assert_finds(learning_rate_too_low, run, Severity.CRITICAL)


@pytest.mark.parametrize("recorded", [range(200), range(0, 200, 10)], ids=["every step", "without the step"])
def test_a_loss_that_diverges_where_the_weights_were_replaced_is_no_matter_of_low_rates(tmp_path, recorded):
    """Whether the step that replaced them was recorded or not."""
    update = numpy.full((200, 1), 1e-5)
    update[17] = 4.0
    loss = numpy.where(numpy.arange(200) < 18, falling(200), 80.0)
    run = build_run(
        tmp_path / "a", loss=loss, facts=TEN, recorded=recorded, stats={"update_norm": update[list(recorded)]}
    )
    judged(learning_rate_too_low, run, Moves)
