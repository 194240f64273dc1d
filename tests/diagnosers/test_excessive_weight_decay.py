import numpy

from gradaudit.diagnosers.excessive_weight_decay import excessive_weight_decay
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling, flat, healthy
from tests.diagnosers.sick_weights import decayed
from tests.diagnosers.verbs import (
    assert_clean,
    assert_could_not_look,
    assert_finds,
    assert_not_applicable,
)


def test_weights_that_stay_are_quiet(tmp_path):
    run = healthy(tmp_path, stats={"update_weight_cosine": -0.05})
    assert "cosine of -0.05" in assert_clean(excessive_weight_decay, run)


def test_the_most_extreme_healthy_run_is_quiet(tmp_path):
    assert_clean(excessive_weight_decay, decayed(tmp_path / "a", cosine=-0.23, last=0.99))


def test_early_updates_against_the_weights_that_come_back_are_quiet(tmp_path):
    assert_clean(excessive_weight_decay, decayed(tmp_path / "a", last=0.9))


def test_weights_that_shrink_because_the_loss_wants_it_are_quiet(tmp_path):
    assert_clean(excessive_weight_decay, decayed(tmp_path / "a", cosine=-0.3))


def test_the_balance_of_normalised_layers_late_in_training_is_quiet(tmp_path):
    cosine = numpy.where(numpy.arange(200) < 60, -0.1, -0.9)[:, None]
    assert_clean(excessive_weight_decay, decayed(tmp_path / "a", cosine=cosine))


def test_one_layer_of_many_that_shrinks_is_quiet(tmp_path):
    cosine = numpy.where(numpy.arange(8) == 2, -0.9, 0.0)[None, :]
    assert_clean(excessive_weight_decay, decayed(tmp_path / "a", cosine=cosine))


def test_layers_that_start_at_zero_and_tables_are_left_out(tmp_path):
    run = build_run(tmp_path / "a", loss=falling(), stats={"weight_norm": 0.0, "update_weight_cosine": -1.0})
    assert "start at zero" in assert_not_applicable(excessive_weight_decay, run)
    table = linear_stack(depth=0, embedding=50)
    run = build_run(tmp_path / "b", loss=falling(), tensors=table, stats={"update_weight_cosine": -1.0})
    assert_not_applicable(excessive_weight_decay, run)


def test_without_the_first_steps_or_the_cosine_it_cannot_look(tmp_path):
    late = numpy.arange(50, 200)
    run = build_run(tmp_path / "a", loss=falling(), stats={"update_weight_cosine": -1.0}, recorded=late)
    assert_could_not_look(excessive_weight_decay, run)
    assert_could_not_look(excessive_weight_decay, build_run(tmp_path / "b", loss=falling()))
    assert_could_not_look(excessive_weight_decay, decayed(tmp_path / "c", loss=falling(39)))


def test_every_tenth_step_is_enough(tmp_path):
    stats = {"update_weight_cosine": -0.9, "weight_norm": numpy.geomspace(1, 0.1, 20)[:, None]}
    run = build_run(tmp_path / "a", loss=falling(), stats=stats, recorded=numpy.arange(0, 200, 10),
                    steps={"weight_decay": [[0.5]] * 200, "learning_rate": [[0.01]] * 200})  # fmt: skip
    assert_finds(excessive_weight_decay, run, Severity.WARNING)


def test_decay_that_outweighs_the_gradient_is_a_warning(tmp_path):
    held_down = falling(first=2.5, last=2.26)
    finding = assert_finds(excessive_weight_decay, decayed(tmp_path / "a", loss=held_down), Severity.WARNING)
    assert "weight decay of 0.5 shrinks the weights to 10 %" in finding.headline
    assert "from 0.5 to 0.05" in finding.actions[0].text


def test_while_the_loss_learns_it_is_a_note(tmp_path):
    finding = assert_finds(excessive_weight_decay, decayed(tmp_path / "a"), Severity.NOTE)
    assert "it learns all the same" in finding.seen


def test_a_loss_that_decay_brings_back_up_is_a_warning(tmp_path):
    loss = numpy.interp(numpy.arange(200), [0, 50, 199], [2.31, 1.0, 2.0])
    assert_finds(excessive_weight_decay, decayed(tmp_path / "a", loss=loss), Severity.WARNING)


def test_and_critical_when_nothing_is_learned(tmp_path):
    assert_finds(excessive_weight_decay, decayed(tmp_path / "a", loss=flat()), Severity.CRITICAL)


def test_without_a_weight_decay_it_is_a_note(tmp_path):
    finding = assert_finds(excessive_weight_decay, decayed(tmp_path / "a", decay=0.0), Severity.NOTE)
    assert "penalty in the loss" in finding.seen


def test_a_decay_far_too_small_for_it_is_not_blamed(tmp_path):
    finding = assert_finds(excessive_weight_decay, decayed(tmp_path / "a", decay=0.01, loss=flat()), Severity.NOTE)
    assert finding.headline.startswith("Something other than weight decay shrinks the weights to 10 %")
    assert "A weight decay of 0.01" in finding.seen
    assert "penalty" in finding.actions[0].text


def test_adam_is_told_of_adamw(tmp_path):
    finding = assert_finds(excessive_weight_decay, decayed(tmp_path / "a", optimizer="Adam"))
    assert any("AdamW" in action.text for action in finding.actions)


def test_targets_that_are_all_the_same_have_no_level_to_compare_with(tmp_path):
    """Their variance, the loss of the best constant, is 0."""
    constant = LossFacts(id=0, function="mse_loss", target_mean=1.0, target_variance=0.0)
    finding = assert_finds(excessive_weight_decay, decayed(tmp_path / "a", facts=constant))
    assert [measure.option for measure in finding.measures] == ["cosine", "shrunk"]
