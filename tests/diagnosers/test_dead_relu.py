import msgspec
import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.chart_data import Dots, Lines
from gradaudit.diagnosers.dead_relu import Alive, Dead, NotFollowed, dead_relu
from gradaudit.findings import Severity
from gradaudit.schema import ModuleFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import (
    TEN,
    activation,
    embedding_rows,
    falling,
    flat,
    healthy,
    loss_input,
    output_rows,
    parameters,
)  # fmt: skip
from tests.diagnosers.sick_layers import constant_inputs, dead_layer, narrow
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged
from tests.record.training import recorded, run_of


def test_a_few_silent_units_are_quiet(tmp_path):
    run = healthy(tmp_path)
    assert_clean(dead_relu, run)
    assert judged(dead_relu, run, Alive).worst == pytest.approx(0.19, abs=0.005)


def test_the_healthy_extreme_is_quiet(tmp_path):
    assert_clean(dead_relu, dead_layer(tmp_path / "a", 0.5))


def test_narrow_layers_are_quiet_unless_nearly_all_is_dead(tmp_path):
    tensors = [msgspec.structs.replace(t, shape=[8, 32] if t.role == "weight" else [8]) for t in linear_stack()]
    assert_clean(dead_relu, dead_layer(tmp_path / "a", 0.75, tensors=tensors, outputs=8))
    assert_clean(dead_relu, narrow(tmp_path / "b", 2))


def test_units_that_a_solved_task_did_without_are_a_note(tmp_path):
    """0.05 of 2.31 is left, or 0.15."""
    run = dead_layer(tmp_path / "a", 0.75, loss=falling(last=0.05))
    found = judged(dead_relu, run, Dead)
    assert found.nearly_done
    assert found.improvement == pytest.approx(0.98, abs=0.005)
    assert_finds(dead_relu, run, Severity.NOTE)
    assert_finds(dead_relu, dead_layer(tmp_path / "b", 0.75, loss=falling(last=0.15)), Severity.WARNING)


def test_units_that_have_two_constant_inputs_to_tell_apart_are_quiet(tmp_path):
    run = constant_inputs(tmp_path / "a", 0.69)
    assert judged(dead_relu, run, Alive).same_examples == 2
    assert assert_clean(dead_relu, run).endswith("; every batch holds the same 2 examples")
    # Two other examples at every step, sixty of them, should have woken more units, and so should many.
    assert_finds(dead_relu, constant_inputs(tmp_path / "b", 0.69, cosine=0.1), Severity.WARNING)
    assert_finds(dead_relu, constant_inputs(tmp_path / "c", 0.69, size=64), Severity.WARNING)
    assert_finds(dead_relu, constant_inputs(tmp_path / "d", 0.97), Severity.WARNING)


@pytest.mark.parametrize("seed", [1, 3])
def test_xor_that_is_learned_is_quiet(tmp_path, seed):
    """Four examples at every step; up to 69 % of 16 units are off for all of them, and the loss ends at 0."""
    with recorded(tmp_path / "run"):
        torch.manual_seed(seed)
        x, y = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]), torch.tensor([[0.0], [1], [1], [0]])
        model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(200):
            optimizer.zero_grad()
            loss = functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
    assert loss.item() < 1e-5
    run = run_of(tmp_path / "run")
    assert_clean(dead_relu, run)
    assert judged(dead_relu, run, Alive).same_examples == 4


def test_experts_that_are_not_chosen_are_quiet(tmp_path):
    has_grad = numpy.ones((200, 8), dtype=bool)
    has_grad[::2, 4:6] = False
    run = build_run(
        tmp_path / "a", loss=falling(), rows=output_rows(200, {0: 0.0, 4: 1.0, 6: 0.0}), stats={"has_grad": has_grad},
        facts=TEN,
    )  # fmt: skip
    assert_clean(dead_relu, run)


def test_values_of_actions_that_were_not_taken_are_quiet(tmp_path):
    rows = output_rows(200, {0: 0.0, 2: 0.0, 4: 0.0, 6: 0.9})
    assert_clean(dead_relu, build_run(tmp_path / "a", loss=falling(), rows=rows, facts=TEN))


def test_masked_actions_of_a_head_before_another_are_quiet(tmp_path):
    shapes = {4: [24, 32], 5: [24], 6: [1, 32], 7: [1]}  # a policy and a value, side by side
    tensors = [msgspec.structs.replace(t, shape=shapes.get(t.id, t.shape)) for t in linear_stack()]
    assert_clean(dead_relu, dead_layer(tmp_path / "a", 0.75, tensors=tensors, outputs=24))
    assert_finds(dead_relu, dead_layer(tmp_path / "b", 0.75, tensors=tensors, outputs=24, first=0.1))
    shapes[6] = [1, 24]
    tensors = [msgspec.structs.replace(t, shape=shapes.get(t.id, t.shape)) for t in linear_stack()]
    assert_finds(dead_relu, dead_layer(tmp_path / "c", 0.75, tensors=tensors, outputs=24))


def test_a_gradient_that_is_lost_behind_the_model_is_left_to_others(tmp_path):
    """As float16 loses it without a GradScaler: outputs differ from example to example, and no tensor hears of it."""
    rows = output_rows(200, dict.fromkeys((0, 2, 4, 6), 1.0))
    given = {"loss": flat(), "rows": rows, "stats": {"gradient_norm": 0.0}, "facts": TEN}
    samples = [loss_input(step) for step in range(0, 200, 10)]
    reason = assert_not_applicable(dead_relu, build_run(tmp_path / "a", samples=samples, **given))
    assert "lost between the loss and the model" in reason
    stuck = [loss_input(step, 0.0, 0.0, std=0.0) for step in range(0, 200, 10)]
    assert_finds(dead_relu, build_run(tmp_path / "b", samples=stuck, **given), Severity.CRITICAL)


def test_a_loss_that_has_reached_zero_has_no_gradient_and_is_quiet(tmp_path):
    gradient = numpy.full((200, 8), 0.1)
    gradient[100:] = 0
    rows = output_rows(200, dict.fromkeys((0, 2, 4, 6), 1.0))
    run = build_run(tmp_path / "a", loss=falling(last=0.0), rows=rows, stats={"gradient_norm": gradient}, facts=TEN)
    assert judged(dead_relu, run, Alive).solved
    assert "fallen to next to nothing" in assert_clean(dead_relu, run)


def test_a_gradient_that_fades_along_the_depth_is_left_to_its_rule(tmp_path):
    rows = output_rows(200, {0: 1.0, 1: 1.0, 2: 1.0, **dict.fromkeys(range(3, 8), 0.0)})
    gradient = numpy.logspace(-44, 0, 8)
    run = build_run(
        tmp_path / "a", loss=falling(), tensors=parameters(8), rows=rows, stats={"gradient_norm": gradient}, facts=TEN
    )
    assert "shrinks from layer to layer" in assert_not_applicable(dead_relu, run)


def test_silent_rows_of_an_embedding_are_quiet(tmp_path):
    rows = embedding_rows(200, tensor=0, rows=50, hit=0, silent=50) + output_rows(200, {1: 0.0, 3: 0.0})
    assert_clean(dead_relu, healthy(tmp_path, rows=rows))


def test_short_runs_and_models_without_such_layers_cannot_be_judged(tmp_path):
    assert_skipped(dead_relu, dead_layer(tmp_path / "a", loss=falling(39)))
    run = build_run(tmp_path / "b", loss=falling(), recorded=range(0, 200, 10), rows=output_rows(200, {0: 1.0}))
    assert_skipped(dead_relu, run)
    tensors = [msgspec.structs.replace(t, module_class="Own") for t in linear_stack()]
    assert_not_applicable(dead_relu, build_run(tmp_path / "c", loss=falling(), tensors=tensors))


def test_a_dead_layer_is_a_warning_and_the_one_closest_to_the_output_is_named(tmp_path):
    run = dead_layer(tmp_path / "a")
    found = judged(dead_relu, run, Dead)
    assert (found.units.layer.name, found.units.share, found.units.outputs) == ("layers.2.weight", 1, 32)
    assert (found.by_width, found.limit, found.when) == (True, 0.6, "before")
    assert (found.zero_inputs, found.before) == (("layers.3",), 2)
    finding = assert_finds(dead_relu, run, Severity.WARNING)
    assert finding.title == "Dead layer"
    assert finding.headline == "Layer layers.2 receives no gradient at 100 % of its 32 outputs (last 30 recorded steps)"
    assert [measure.value for measure in finding.measures[:2]] == [1.0, 32]
    assert finding.tensors == ["layers.2.weight"]
    assert (
        "All inputs of layer layers.3 are zero because of it. 2 layers before it receive none." in finding.explanation
    )
    dots, lines = finding.evidence
    assert isinstance(dots, Dots)
    assert [(dot.label, dot.value, dot.flagged) for dot in dots.dots] == [
        ("layers.0.weight", 1.0, False),
        ("layers.1.weight", 1.0, False),
        ("layers.2.weight", 1.0, True),
    ], "layers.3 has inputs of zero, but its outputs receive a gradient through the bias"
    assert "because their inputs are all zero; they are left out." in dots.caption
    assert [mark.x for mark in dots.marks] == [0.6]
    assert "so the layers before it have no gradient either" in dots.caption
    assert isinstance(lines, Lines)
    assert lines.series[0].role == "flagged"


def test_a_large_part_of_a_layer_is_a_warning(tmp_path):
    run = dead_layer(tmp_path / "a", 0.75)
    units = judged(dead_relu, run, Dead).units
    assert (units.layer.module, units.share, units.outputs) == ("layers.2", 0.75, 32)
    finding = assert_finds(dead_relu, run, Severity.WARNING)
    assert finding.title == "Dead units"
    dots = finding.evidence[0]
    assert isinstance(dots, Dots)
    assert [dot.value for dot in dots.dots] == [0, 0, 0.75, 0]
    assert "no gradient either" not in dots.caption


def test_of_many_layers_the_dead_one_is_always_drawn(tmp_path):
    tensors = linear_stack(250)
    rows = output_rows(200, {2 * layer: 0.75 if layer == 240 else 0.0 for layer in range(250)})
    run = build_run(tmp_path / "a", loss=falling(), tensors=tensors, rows=rows, facts=TEN)
    dots = assert_finds(dead_relu, run).evidence[0]
    assert isinstance(dots, Dots)
    assert len(dots.dots) == 200
    assert [dot.label for dot in dots.dots if dot.flagged] == ["layers.240.weight"]


def test_it_is_critical_when_nothing_is_learned(tmp_path):
    assert_finds(dead_relu, dead_layer(tmp_path / "a", loss=flat()), Severity.CRITICAL)
    assert_finds(dead_relu, dead_layer(tmp_path / "b", 0.75, loss=flat()), Severity.WARNING)


def test_units_of_which_some_died_and_some_never_lived_are_called_so(tmp_path):
    run = dead_layer(tmp_path / "a", 0.81, first=0.5)
    assert judged(dead_relu, run, Dead).when == "both"
    assert "Some were dead from the start, and others died during training" in assert_finds(dead_relu, run).explanation


def test_units_that_died_and_units_that_never_lived_have_different_remedies(tmp_path):
    run = dead_layer(tmp_path / "a", 0.75, first=0.1)
    found = judged(dead_relu, run, Dead)
    assert (found.when, found.span.first) == ("during", 10)
    died = assert_finds(dead_relu, run)
    assert died.title == "Dead units since step 10"
    assert died.actions[0].text.startswith("Lower the learning rate at step 10 from 0.001 to 1e-4")
    run = dead_layer(tmp_path / "b", 0.75)
    found = judged(dead_relu, run, Dead)
    assert (found.when, found.units.inputs) == ("before", 32)
    assert "standard deviation 0.25, for its 32 inputs" in assert_finds(dead_relu, run).actions[0].text


def test_without_any_gradient_the_end_of_the_model_is_named(tmp_path):
    rows = output_rows(200, dict.fromkeys((0, 2, 4), 1.0)) + output_rows(200, {6: 1.0}, outputs=1)
    rows.sort(key=lambda row: (row["step"], row["tensor"]))
    run = build_run(tmp_path / "a", loss=flat(), rows=rows, stats={"gradient_norm": 0.0}, facts=TEN)
    units = judged(dead_relu, run, Dead).units
    assert (units.layer.module, units.share, units.outputs) == ("layers.3", 1, 1)
    finding = assert_finds(dead_relu, run, Severity.CRITICAL)
    assert finding.headline == "Layer layers.3 receives no gradient at 100 % of its 1 output (last 30 recorded steps)"


def test_a_sampled_activation_confirms_it(tmp_path):
    modules = [
        ModuleFacts(id=0, name="layers.2", module_class="Linear"),
        ModuleFacts(id=1, name="relu", module_class="ReLU"),
    ]
    samples = [activation(step, module=1, dead_fraction=0.74) for step in range(0, 200, 10)]
    run = dead_layer(tmp_path / "a", 0.75, modules=modules, samples=samples)
    sample = judged(dead_relu, run, Dead).sample
    assert (sample.activation, sample.share) == ("relu", pytest.approx(0.74))
    assert "In the last samples of relu 74 % of the units" in assert_finds(dead_relu, run).explanation


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_scaling_the_loss_changes_nothing(tmp_path, scale):
    assert_finds(dead_relu, dead_layer(tmp_path / "a", loss=scale * falling()), Severity.WARNING)


def test_the_rate_that_counts_is_that_when_the_units_died(tmp_path):
    rates = [[1e-3 if step < 100 else 1.0] for step in range(200)]
    died = assert_finds(dead_relu, dead_layer(tmp_path / "a", 0.75, first=0.1, steps={"learning_rate": rates}))
    assert died.actions[0].text.startswith("Lower the learning rate at step 10 from 0.001 to 1e-4")


def test_gradients_that_are_no_numbers_are_not_called_alive(tmp_path):
    broken = {"gradient_nan": numpy.where(numpy.arange(200) >= 150, 1, 0)[:, None]}
    run = healthy(tmp_path, stats=broken)
    assert "NaN or infinity" in assert_skipped(dead_relu, run)


def test_of_a_run_that_breaks_the_finite_part_is_judged(tmp_path):
    loss = falling()
    loss[100:] = numpy.nan
    stats = {"gradient_nan": numpy.where(numpy.arange(200) < 100, 0, 5)[:, None]}
    # What has no number is no silent output, and none that learns.
    records = [
        row | ({"hit": 32, "silent": 0} if row["step"] >= 100 else {}) for row in output_rows(200, {0: 0.9, 2: 0.0})
    ]
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, stats=stats, rows=records)
    assert judged(dead_relu, run, Dead).span.last == 90
    run = build_run(tmp_path / "b", loss=loss, facts=TEN, stats=stats, rows=output_rows(200, {0: 0.0}))
    alive = judged(dead_relu, run, Alive)
    assert (alive.broken, alive.worst, alive.layers) == (100, 0, 1)
    assert assert_clean(dead_relu, run).startswith("at step 99, before NaN or infinities, every output")


def test_a_run_that_breaks_at_once_cannot_be_judged(tmp_path):
    loss = falling()
    loss[6:] = numpy.nan
    run = build_run(tmp_path / "a", loss=loss, facts=TEN, rows=output_rows(200, {0: 0.0}))
    assert judged(dead_relu, run, NotFollowed).broken == 6
    assert "from step 6 on" in assert_skipped(dead_relu, run)


def test_a_layer_whose_inputs_are_all_zero_is_told_from_a_dead_one_in_the_chart(tmp_path):
    gradient = numpy.asarray([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1])
    run = build_run(tmp_path / "a", loss=falling(), facts=TEN, stats={"gradient_norm": gradient},
                    rows=output_rows(200, {0: 1.0, 2: 1.0, 4: 1.0, 6: 1.0}))  # fmt: skip
    caption = assert_finds(dead_relu, run).evidence[0].caption
    assert "The weights of layers.3.weight have no gradient because their inputs are all zero" in caption


def test_what_was_learned_and_lost_is_not_called_nothing(tmp_path):
    loss = numpy.concatenate([numpy.linspace(2.3, 0.9, 100), flat(200)])
    rows = output_rows(300, {0: 1.0, 2: 1.0, 4: 1.0, 6: 1.0}, first={0: 0.0, 2: 0.0, 4: 0.0, 6: 0.0})
    stats = {"gradient_norm": numpy.where(numpy.arange(300) < 100, 0.1, 0.0)[:, None]}
    finding = assert_finds(dead_relu, build_run(tmp_path / "a", loss=loss, facts=TEN, rows=rows, stats=stats))
    assert "The model has lost what it had learned: the loss starts at 2.30, falls to" in finding.explanation
    assert "learned nothing" not in finding.explanation


def test_it_begins_where_half_of_the_units_are_silent_for_good(tmp_path):
    """A step that was too large later on cannot be why."""
    rows = output_rows(200, {0: 0.0, 2: 0.0, 4: 0.75, 6: 0.0}, first={4: 0.0})
    for row in rows:
        if row["tensor"] == 4 and row["step"] < 100:
            row["hit"] = 32 if row["step"] < 60 else 18  # 44 % silent from step 60 on, 75 % from step 100 on
    run = build_run(tmp_path / "a", loss=falling(), rows=rows, facts=TEN)
    assert judged(dead_relu, run, Dead).span.first == 60
