import numpy
import pytest

from gradaudit.diagnosers.constant_clipping import ConstantClipping, OrdinaryClipping, constant_clipping
from gradaudit.diagnosers.epsilon_dominates import epsilon_dominates
from gradaudit.findings import Severity, Skipped
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, healthy, parameters
from tests.diagnosers.sick_gradients import clipped, clipped_by_value, with_eps
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def test_no_clipping_is_quiet(tmp_path):
    assert assert_clean(constant_clipping, healthy(tmp_path)) == "in the last half of the 200 steps nothing was clipped"


def test_active_clipping_near_the_norm_is_quiet(tmp_path):
    run = clipped(tmp_path / "a", 3.3)
    assert_clean(constant_clipping, run)
    cut = judged(constant_clipping, run, OrdinaryClipping).cut
    assert (cut.clipped, cut.excess) == pytest.approx((1, 3.3))


def test_strong_clipping_now_and_then_is_quiet(tmp_path):
    assert_clean(constant_clipping, clipped(tmp_path / "a", 100.0, share=0.3))


def test_early_clipping_is_quiet(tmp_path):
    norm = numpy.where(numpy.arange(200) < 100, 50.0, 0.1)
    assert_clean(constant_clipping, clipped(tmp_path / "a", steps={"gradient_norm": norm}))


def test_clipping_a_part_of_the_model_cannot_be_judged(tmp_path):
    run = clipped(tmp_path / "a", stats={"gradient_norm": 5.0})
    assert_skipped(constant_clipping, run)
    assert judged(constant_clipping, run, Skipped).reason.startswith("only some of the optimizer's tensors")


def test_fifty_steps_are_needed(tmp_path):
    assert_skipped(constant_clipping, build_run(tmp_path / "a", loss=falling(49)))


def test_value_clipping_of_few_elements_is_quiet(tmp_path):
    assert_clean(constant_clipping, clipped_by_value(tmp_path / "a", 0.1))


def test_constant_clipping_under_sgd_is_a_warning(tmp_path):
    run = clipped(tmp_path / "a")
    found = judged(constant_clipping, run, ConstantClipping)
    assert (found.cut.clipped, found.cut.excess, found.cut.divided) == pytest.approx((1, 20, 20))
    assert (found.threshold, found.usual, found.usual_most) == (0.5, 10, 10)
    assert found.effective_rates == pytest.approx(5e-5)
    assert (found.normalised, found.below_eps) == (False, False)
    finding = assert_finds(constant_clipping, run, Severity.WARNING)
    assert finding.title == "Constant gradient clipping"
    assert [measure.value for measure in finding.measures] == pytest.approx([1.0, 20.0])
    assert finding.actions[0].text == (
        "Clip at 10, the 90th percentile of the norm before clipping, instead of 0.5, and start from a learning rate "
        "of 5e-5: that was in effect up to now"
    )


def test_under_adam_it_is_a_note(tmp_path):
    run = clipped(tmp_path / "a", optimizer="AdamW")
    assert judged(constant_clipping, run, ConstantClipping).normalised
    assert_finds(constant_clipping, run, Severity.NOTE)


def test_under_adam_a_larger_threshold_is_advised_only_where_training_is_known_to_suffer(tmp_path):
    """0.5 is what PPO clips at, and what its objective measures is not known; nor does a loss that falls suffer."""

    def advised(name, **changes):
        run = clipped(tmp_path / name, optimizer="Adam", **changes)
        texts = [action.text for action in assert_finds(constant_clipping, run, Severity.NOTE).actions]
        assert texts[0].startswith("Leave 0.5 if it comes from a recipe")
        larger = any("90th percentile" in text for text in texts)
        assert larger == judged(constant_clipping, run, ConstantClipping).does_not_learn
        return larger

    assert not advised("a", steps={"loss": -1, "mean_loss": numpy.nan})
    assert not advised("b")
    assert advised("c", steps={"mean_loss": flat(200), "objective": flat(200)})


@pytest.mark.parametrize("kind", ["norm", "value"])
def test_clipping_that_takes_every_gradient_below_the_eps_of_adam_is_a_warning(tmp_path, kind):
    """clip_grad_norm_(parameters, 1e-9): what is left is a tenth of a thousandth of eps."""
    left = 1e-12
    tensors = parameters(6)
    stats = {"gradient_norm": left * 32.0, "gradient_max_abs": left}
    steps = {"clip_kind": 1 if kind == "norm" else 2, "clip_threshold": left * 32 * 6**0.5 if kind == "norm" else left}
    run = build_run(
        tmp_path / "a", loss=flat(), facts=TEN, tensors=tensors, stats=stats, steps={"gradient_norm": 1.0, **steps}
    )
    run = with_eps(run, 1e-8)
    found = judged(constant_clipping, run, ConstantClipping)
    assert found.below_eps
    assert found.over_eps == pytest.approx(1e-4)
    assert kind == "value" or found.cut.excess == pytest.approx(1.28e10, rel=0.01)
    finding = assert_finds(constant_clipping, run, Severity.WARNING)
    assert finding.title == ("Gradients clipped below eps" if kind == "norm" else "Constant clipping by value")
    assert "below the eps of AdamW, 1e-8" in finding.explanation
    assert_finds(constant_clipping, with_eps(run, 1e-16), Severity.NOTE)
    assert_clean(epsilon_dominates, with_eps(run, 1e-8))  # the clipping is why


def test_value_clipping_of_most_elements_is_a_note_about_the_direction(tmp_path):
    run = clipped_by_value(tmp_path / "a")
    found = judged(constant_clipping, run, ConstantClipping)
    assert (found.cut.clipped, found.cut.excess) == pytest.approx((1, 0.9))
    finding = assert_finds(constant_clipping, run, Severity.NOTE)
    assert finding.title == "Constant clipping by value"
    assert "changes the direction" in finding.explanation


def test_value_clipping_that_divides_the_step_of_sgd_is_a_warning(tmp_path):
    run = clipped_by_value(tmp_path / "a", norm=50.0, optimizer="SGD")
    assert judged(constant_clipping, run, ConstantClipping).cut.divided > 5
    assert_finds(constant_clipping, run, Severity.WARNING)
    assert_finds(constant_clipping, clipped_by_value(tmp_path / "b", norm=50.0), Severity.NOTE)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_loss_and_threshold_changes_nothing(tmp_path, scale):
    steps = {"gradient_norm": 10 * scale, "clip_threshold": 0.5 * scale}
    run = clipped(tmp_path / "a", steps=steps, stats={"gradient_norm": 0.5 * scale / numpy.sqrt(8)})
    assert_finds(constant_clipping, run, Severity.WARNING)
