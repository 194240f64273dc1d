from dataclasses import replace

import msgspec
import numpy
import pytest

from gradaudit.diagnosers.frozen_parameter import frozen_parameter
from gradaudit.findings import Confidence, Numbers, Severity
from gradaudit.schema import TensorFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling, healthy
from tests.diagnosers.sick_wiring import outside, resting, rounded_away
from tests.diagnosers.verbs import assert_clean, assert_could_not_look, assert_finds, assert_not_applicable

EVERY = tuple(range(8))


def test_a_run_that_moves_is_quiet(tmp_path):
    measured = assert_clean(frozen_parameter, healthy(tmp_path))
    assert measured == "8 of 8 parameter tensors change during training; 1 embedding table left to dead_embedding"


def test_a_tensor_that_is_unfrozen_later_is_quiet(tmp_path):
    update = numpy.full((200, 8), 1e-3)
    update[:150, :2] = 0.0
    drift = numpy.where(update > 0, 0.1, 0.0)
    run = build_run(tmp_path / "a", loss=falling(), stats={"update_norm": update, "drift_norm": drift})
    assert_clean(frozen_parameter, run)


def test_a_target_network_that_follows_by_hand_is_quiet(tmp_path):
    """Its weights change between the steps, so no update is seen and yet it drifts."""
    still = numpy.isin(numpy.arange(8), (6, 7))
    stats = {"update_norm": numpy.where(still, 0.0, 1e-3), "drift_norm": 0.1}
    tensors = [msgspec.structs.replace(t, optimizer=-1) if t.id in (6, 7) else t for t in linear_stack()]
    assert_clean(frozen_parameter, build_run(tmp_path / "a", loss=falling(), tensors=tensors, stats=stats))


def test_a_bias_in_front_of_a_normalisation_is_quiet(tmp_path):
    assert "the other 1 has next to no gradient" in assert_clean(
        frozen_parameter, resting(tmp_path / "a", (1,), gradient=1e-9)
    )


def test_a_fixed_position_table_is_quiet(tmp_path):
    table = TensorFacts(id=8, name="positions", role="other", shape=[1, 16, 32], depth=8, requires_grad=False)
    assert_clean(frozen_parameter, resting(tmp_path / "a", (8,), tensors=[*linear_stack(), table]))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_updates_that_arrive_are_quiet_in_any_precision(tmp_path, dtype):
    assert_clean(frozen_parameter, rounded_away(tmp_path / "a", 0.5, dtype))


def test_weights_that_stay_in_float32_are_no_matter_of_rounding(tmp_path):
    assert_clean(frozen_parameter, rounded_away(tmp_path / "a", dtype="float32"))


def test_weights_without_a_gradient_need_not_move(tmp_path):
    assert_clean(frozen_parameter, rounded_away(tmp_path / "a", stats={"gradient_zero_fraction": 0.4}))


def test_what_warmup_and_the_end_of_a_schedule_lose_is_quiet(tmp_path):
    rates = numpy.concatenate([numpy.linspace(0, 1e-3, 50), numpy.full(30, 1e-3), numpy.linspace(4e-4, 0, 120)])
    lost = numpy.where(rates < 5e-4, 0.95, 0.3)[:, None]
    steps = {"learning_rate": [[float(rate)] for rate in rates]}
    assert_clean(frozen_parameter, rounded_away(tmp_path / "a", lost, steps=steps))


def test_updates_that_rounding_undoes_are_a_warning(tmp_path):
    finding = assert_finds(frozen_parameter, rounded_away(tmp_path / "a"), Severity.WARNING)
    assert finding.headline == "Rounding to bfloat16 undoes 90 % of the updates"
    assert "below 2**-9 to 2**-8 of a weight" in finding.seen
    assert "float32" in finding.actions[0].text


def test_a_frozen_layer_does_not_hide_what_rounding_undoes(tmp_path):
    run = resting_in_half(tmp_path / "a", requires_grad=False)
    rounded = assert_finds(frozen_parameter, run, Severity.WARNING, count=2)
    assert rounded.headline == "Rounding to bfloat16 undoes 90 % of the updates"


def test_weights_that_rounding_holds_still_are_told_once(tmp_path):
    assert_finds(frozen_parameter, resting_in_half(tmp_path / "a"), Severity.CRITICAL)


def resting_in_half(path, **facts):
    """A stack in bfloat16 whose first layer never moves; a step leaves 90 % of the others as they were."""
    tensors = [msgspec.structs.replace(t, dtype="bfloat16", **(facts if t.id < 2 else {})) for t in linear_stack()]
    still = numpy.arange(8) < 2
    stats = {
        "update_norm": numpy.where(still, 0.0, 1e-3),
        "drift_norm": numpy.where(still, 0.0, 0.1),
        "unchanged_fraction": 0.9,
    }
    return build_run(path, loss=falling(), tensors=tensors, stats=stats)


def test_what_is_expected_to_be_frozen_is_quiet(tmp_path):
    run = resting(tmp_path / "a", (2, 3))
    assert_finds(frozen_parameter, run)
    assert (
        assert_clean(frozen_parameter, replace(run, expected_frozen=("layers.1.*",)))
        == "6 of 6 parameter tensors change during training; 2 expected to be frozen"
    )
    assert_finds(frozen_parameter, replace(run, expected_frozen=("layers.1.weight",)))
    reason = assert_not_applicable(frozen_parameter, replace(run, expected_frozen=("*",)))
    assert "expected to be frozen" in reason


def test_an_embedding_table_is_left_to_its_own_rule(tmp_path):
    assert_clean(frozen_parameter, resting(tmp_path / "a", (0,), tensors=linear_stack(embedding=20)))
    only = resting(tmp_path / "b", (0,), tensors=linear_stack(embedding=20)[:1])
    assert_not_applicable(frozen_parameter, only)


def test_skipped_steps_are_no_evidence(tmp_path):
    run = resting(tmp_path / "a", EVERY, steps={"skipped": numpy.arange(200) >= 3})
    assert "only 3 steps" in assert_could_not_look(frozen_parameter, run)
    assert_could_not_look(frozen_parameter, build_run(tmp_path / "b", loss=falling(4)))


def test_what_was_frozen_by_hand_is_a_note(tmp_path):
    finding = assert_finds(frozen_parameter, resting(tmp_path / "a", facts={"requires_grad": False}), Severity.NOTE)
    assert finding.headline == "None of the 200 steps changes 2 of 8 parameter tensors: requires_grad is False"


def test_training_a_head_on_a_pretrained_model_is_a_note(tmp_path):
    """optimizer = SGD(head.parameters())"""
    finding = assert_finds(frozen_parameter, outside(tmp_path / "a", (0, 1, 2, 3, 4, 5)), Severity.NOTE)
    assert "as in transfer learning" in finding.seen


def test_adapters_between_the_layers_of_a_backbone_are_a_note(tmp_path):
    assert_finds(frozen_parameter, outside(tmp_path / "a", (0, 1, 2, 4, 5, 6)), Severity.NOTE)


def test_a_layer_that_the_optimizer_was_not_given_is_a_warning(tmp_path):
    finding = assert_finds(frozen_parameter, outside(tmp_path / "a"), Severity.WARNING)
    assert "while their neighbours are trained" in finding.seen
    assert finding.tensors == ["layers.1.weight", "layers.1.bias"]
    assert finding.confidence is Confidence.CERTAIN


def test_a_learning_rate_of_zero_is_critical(tmp_path):
    run = resting(tmp_path / "a", EVERY, steps={"learning_rate": [[0.0]] * 200})
    assert "the learning rate is 0" in assert_finds(frozen_parameter, run, Severity.CRITICAL).headline


def test_a_warmup_that_starts_at_zero_is_not(tmp_path):
    rates = {"learning_rate": [[0.0]] + [[1e-3]] * 199}
    assert_clean(frozen_parameter, build_run(tmp_path / "a", loss=falling(), steps=rates))


def test_a_front_that_is_cut_off_is_critical(tmp_path):
    finding = assert_finds(frozen_parameter, resting(tmp_path / "a", has_grad=False), Severity.CRITICAL)
    assert finding.headline == "None of the 200 steps changes 2 of 8 parameter tensors: no gradient arrives"
    assert "detach()" in finding.actions[0].text


def test_an_unused_part_in_the_middle_is_a_warning(tmp_path):
    tensors = [msgspec.structs.replace(t, name=f"pooler.{t.role}") if t.id in (4, 5) else t for t in linear_stack()]
    run = resting(tmp_path / "a", (4, 5), has_grad=False, tensors=tensors)
    assert_finds(frozen_parameter, run, Severity.WARNING)


@pytest.mark.parametrize("seen", [{"has_grad": False}, {"gradient": 0.0}])
def test_an_expert_that_is_never_chosen_is_a_note(tmp_path, seen):
    finding = assert_finds(frozen_parameter, resting(tmp_path / "a", (4, 5), **seen), Severity.NOTE)
    assert "locks like them are trained" in finding.seen


def test_an_optimizer_of_another_model_is_critical(tmp_path):
    finding = assert_finds(frozen_parameter, resting(tmp_path / "a", EVERY, has_grad=False), Severity.CRITICAL)
    assert "a model that was made again" in finding.seen


def test_zeroing_between_backward_and_step_is_critical(tmp_path):
    finding = assert_finds(frozen_parameter, resting(tmp_path / "a", EVERY, gradient=0.0), Severity.CRITICAL)
    assert "exactly zero when it steps" in finding.seen
    assert finding.actions[0].code == "optimizer.zero_grad(); loss.backward(); optimizer.step()"


def test_zero_gradients_behind_a_dead_layer_are_a_warning(tmp_path):
    run = resting(tmp_path / "a", (0, 1), gradient=0.0, tensors=_named())
    finding = assert_finds(frozen_parameter, run, Severity.WARNING)
    # The bias rests with its weight, and a gradient of zero is none.
    assert "changes 2 of 8 parameter tensors: the gradient is exactly zero" in finding.headline
    table = finding.evidence[1]
    assert isinstance(table, Numbers)
    assert table.columns[2] == "steps with a gradient above 0"
    assert [cells[2] for cells in table.cells[:3]] == ["0 %", "0 %", "100 %"]


def test_a_bias_with_a_zero_gradient_beside_a_weight_that_moves_is_quiet(tmp_path):
    assert_clean(frozen_parameter, resting(tmp_path / "a", (1,), gradient=0.0))


def _named():
    names = ["stem", "body", "neck", "head"]
    return [msgspec.structs.replace(t, name=f"{names[t.id // 2]}.{t.role}") for t in linear_stack()]


def test_a_gradient_without_an_update_is_critical(tmp_path):
    finding = assert_finds(frozen_parameter, resting(tmp_path / "a", facts={"dtype": "bfloat16"}), Severity.CRITICAL)
    assert "below its precision" in finding.seen


def test_a_weight_with_next_to_no_gradient_is_a_note(tmp_path):
    assert_finds(frozen_parameter, resting(tmp_path / "a", (2,), gradient=1e-6), Severity.NOTE)


def test_large_tensors_are_sampled_and_so_not_certain(tmp_path):
    tensors = linear_stack(width=100)
    finding = assert_finds(frozen_parameter, resting(tmp_path / "a", tensors=tensors))
    assert finding.confidence is Confidence.HIGH


def test_each_reason_has_its_finding(tmp_path):
    tensors = [msgspec.structs.replace(t, optimizer=-1) if t.id == 4 else t for t in _named()]
    run = resting(tmp_path / "a", (0, 1, 4), has_grad=False, tensors=tensors)
    first = assert_finds(frozen_parameter, run, Severity.CRITICAL, count=2)
    assert first.tensors == ["stem.weight", "stem.bias"]


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    stats = {"gradient_norm": 0.1 * scale, "update_norm": 0.0, "drift_norm": 0.0}
    run = build_run(tmp_path / "a", loss=scale * falling(), facts=TEN, stats=stats)
    assert_finds(frozen_parameter, run, Severity.CRITICAL)


def test_ten_thousand_tensors_are_quick(tmp_path):
    tensors = linear_stack(depth=5000, width=4)
    stats = {"update_norm": 0.0, "drift_norm": 0.0}
    run = build_run(tmp_path / "a", loss=falling(20), tensors=tensors, stats=stats, recorded=range(0, 20, 4))
    assert "10,000 of 10,000 parameter tensors" in assert_finds(frozen_parameter, run, Severity.CRITICAL).headline
