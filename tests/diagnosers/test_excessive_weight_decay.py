import dataclasses

import msgspec
import numpy
import pytest

from gradaudit.diagnosers.excessive_weight_decay import Kept, Shrinking, excessive_weight_decay
from gradaudit.findings import Severity
from gradaudit.schema import LossFacts, OptimizerFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_weights import decayed
from tests.diagnosers.verbs import (
    assert_clean,
    assert_finds,
    assert_not_applicable,
    assert_skipped,
    judged,
)


def test_weights_that_stay_are_quiet(tmp_path):
    run = healthy(tmp_path, stats={"update_weight_cosine": -0.05})
    assert judged(excessive_weight_decay, run, Kept) == Kept(cosine=pytest.approx(-0.05), left=1.0)
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
    assert_skipped(excessive_weight_decay, run)
    assert_skipped(excessive_weight_decay, build_run(tmp_path / "b", loss=falling()))
    assert_skipped(excessive_weight_decay, decayed(tmp_path / "c", loss=falling(39)))


def test_every_tenth_step_is_enough(tmp_path):
    stats = {"update_weight_cosine": -0.9, "weight_norm": numpy.geomspace(1, 0.1, 20)[:, None]}
    run = build_run(tmp_path / "a", loss=falling(), stats=stats, recorded=numpy.arange(0, 200, 10),
                    steps={"weight_decay": [[0.5]] * 200, "learning_rate": [[0.01]] * 200})  # fmt: skip
    assert_finds(excessive_weight_decay, run, Severity.WARNING)


def test_decay_that_outweighs_the_gradient_is_a_warning(tmp_path):
    held_down = falling(first=2.5, last=2.26)
    run = decayed(tmp_path / "a", loss=held_down)
    found = judged(excessive_weight_decay, run, Shrinking)
    assert (found.cosine, found.left) == pytest.approx((-0.9, 0.1), abs=1e-3)
    assert (found.decay.value, found.decay.suggested, found.decay.explains) == (0.5, 0.05, True)
    # Half of the norm is gone after log 0.5 / log 0.1 of the run.
    assert found.halved_at == 60
    finding = assert_finds(excessive_weight_decay, run, Severity.WARNING)
    assert finding.title == "Weight decay too high"
    assert finding.headline == "A weight decay of 0.5 shrinks the weights to 10 % of their initial norm"
    assert [measure.value for measure in finding.measures[:2]] == [found.cosine, found.left]


def test_while_the_loss_learns_it_is_a_note(tmp_path):
    run = decayed(tmp_path / "a")
    assert judged(excessive_weight_decay, run, Shrinking).still_learns
    finding = assert_finds(excessive_weight_decay, run, Severity.NOTE)
    assert finding.title == "Strong weight decay"


def test_a_loss_that_decay_brings_back_up_is_a_warning(tmp_path):
    loss = numpy.interp(numpy.arange(200), [0, 50, 199], [2.31, 1.0, 2.0])
    assert_finds(excessive_weight_decay, decayed(tmp_path / "a", loss=loss), Severity.WARNING)


def test_and_critical_when_nothing_is_learned(tmp_path):
    assert_finds(excessive_weight_decay, decayed(tmp_path / "a", loss=flat()), Severity.CRITICAL)


def test_without_a_weight_decay_it_is_a_note(tmp_path):
    run = decayed(tmp_path / "a", decay=0.0)
    found = judged(excessive_weight_decay, run, Shrinking)
    assert (found.decay.value, found.decay.explains) == (0.0, False)
    finding = assert_finds(excessive_weight_decay, run, Severity.NOTE)
    assert finding.title == "Shrinking weights"
    assert finding.headline == "The weights shrink to 10 % of their initial norm, without any weight decay"


def test_a_decay_far_too_small_for_it_is_not_blamed(tmp_path):
    run = decayed(tmp_path / "a", decay=0.01, loss=flat())
    found = judged(excessive_weight_decay, run, Shrinking)
    assert (found.decay.value, found.decay.explains) == (pytest.approx(0.01), False)
    finding = assert_finds(excessive_weight_decay, run, Severity.NOTE)
    assert finding.title == "Shrinking weights"
    assert finding.headline.endswith("10 % of their initial norm, which a weight decay of 0.01 cannot explain")
    assert "penalty" in finding.actions[0].text


def test_adam_is_told_of_adamw(tmp_path):
    finding = assert_finds(excessive_weight_decay, decayed(tmp_path / "a", optimizer="Adam"))
    assert any("AdamW" in action.text for action in finding.actions)


def test_targets_that_are_all_the_same_have_no_level_to_compare_with(tmp_path):
    """Their variance, the loss of the best constant, is 0."""
    constant = LossFacts(id=0, function="mse_loss", target_mean=1.0, target_variance=0.0)
    finding = assert_finds(excessive_weight_decay, decayed(tmp_path / "a", facts=constant))
    assert [measure.option for measure in finding.measures] == ["cosine", "shrunk"]


def grouped(path):
    """Two parameter groups: the layers decay at a small learning rate, and the head has a large one and no decay."""
    tensors = [msgspec.structs.replace(t, group=1 if t.id >= 6 else 0) for t in linear_stack()]
    norms = numpy.geomspace(1, 0.1, 200)[:, None] * numpy.ones(8)
    norms[:, 6:] = numpy.linspace(1, 1.02, 200)[:, None]
    stats = {"update_weight_cosine": numpy.where(numpy.arange(8) >= 6, 0.0, -0.9)[None, :], "weight_norm": norms}
    steps = {"learning_rate": [[0.01, 0.2]] * 200, "weight_decay": [[0.5, 0.0]] * 200}
    return build_run(path, loss=falling(), stats=stats, steps=steps, tensors=tensors, facts=TEN, optimizer="SGD")


def test_of_several_groups_the_one_that_decays_is_named_with_its_own_rate(tmp_path):
    run = grouped(tmp_path / "a")
    decay = judged(excessive_weight_decay, run, Shrinking).decay
    assert (decay.group, decay.value, decay.suggested) == (0, 0.5, 0.05)
    assert decay.peak_rates == pytest.approx([0.01])
    finding = assert_finds(excessive_weight_decay, run)
    assert finding.actions[0].text.startswith("Lower the weight decay of group 0 from 0.5 to 0.05:")
    assert finding.actions[0].code == "optimizer.param_groups[0]['weight_decay'] = 0.05"
    assert finding.tensors == ["layers.0.weight", "layers.1.weight", "layers.2.weight"]
    assert "layers.3.weight" not in [series.name for series in finding.evidence[0].series], "it has grown"


def test_momentum_repeats_the_decay_and_stays_in_the_code(tmp_path):
    facts = OptimizerFacts(id=0, optimizer_class="SGD", defaults={"momentum": 0.9, "weight_decay": 0.5})
    run = decayed(tmp_path / "a")
    run = dataclasses.replace(run, meta=msgspec.structs.replace(run.meta, optimizers=[facts]))
    # 0.01 * 200 steps / (1 - 0.9) is 20: a decay of 0.005 takes a tenth.
    assert judged(excessive_weight_decay, run, Shrinking).decay.suggested == 0.005
    finding = assert_finds(excessive_weight_decay, run)
    assert finding.actions[0].code == "torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.005)"


def test_what_makes_it_a_note_is_in_the_table(tmp_path):
    finding = assert_finds(excessive_weight_decay, decayed(tmp_path / "a"), Severity.NOTE)
    level, fall = finding.measures[-2:]
    assert (level.comparison, level.threshold, level.decides, level.met) == ("<", 0.96, "note", True)
    assert (fall.comparison, fall.threshold, fall.decides, fall.met) == (">=", 0.01, "note", True)


def test_the_norm_of_weights_that_ran_away_is_not_told(tmp_path):
    loss = falling()
    loss[150:] = numpy.nan
    norms = numpy.geomspace(1, 1e26, 200)[:, None]
    run = decayed(tmp_path / "a", cosine=0.1, loss=loss, stats={"weight_norm": norms})
    assert judged(excessive_weight_decay, run, Kept).left is None
    assert "first norm" not in assert_clean(excessive_weight_decay, run)
