from dataclasses import replace

import msgspec
import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.chart_data import Numbers
from gradaudit.diagnosers.frozen_parameter import LostToRounding, Moving, TooFewSteps, Unchanged, frozen_parameter
from gradaudit.findings import Confidence, Severity
from gradaudit.reading.run import load
from gradaudit.schema import TensorFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.graphs import ONE, graph_of
from tests.diagnosers.runs import TEN, falling, flat, healthy
from tests.diagnosers.sick_wiring import IN_ORDER, calls, outside, resting, rounded_away
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged
from tests.record.training import recorded

EVERY = tuple(range(8))


def cause(run):
    """Why the one group of tensors that rest does so."""
    return judged(frozen_parameter, run, Unchanged).group.cause


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
    run = resting(tmp_path / "a", (1,), gradient=1e-9)
    assert judged(frozen_parameter, run, Moving) == Moving(
        moving=7, looked_at=8, faint=1, tables=0, expected=0, meant=0
    )
    assert "the other 1 has next to no gradient" in assert_clean(frozen_parameter, run)


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
    run = rounded_away(tmp_path / "a")
    finding = assert_finds(frozen_parameter, run, Severity.WARNING)
    assert finding.title == "Updates lost to bfloat16 rounding"
    found = judged(frozen_parameter, run, LostToRounding)
    assert (found.lost.share, found.most) == pytest.approx((0.9, 0.9))
    assert len(found.worst) == len(found.lost.tensors) == 8
    assert "below 2**-9 to 2**-8 of a weight" in finding.explanation
    assert "float32" in finding.actions[0].text


def test_a_frozen_layer_does_not_hide_what_rounding_undoes(tmp_path):
    run = resting_in_half(tmp_path / "a", requires_grad=False)
    assert_finds(frozen_parameter, run, Severity.WARNING, count=2)
    assert judged(frozen_parameter, run, LostToRounding).lost.share == pytest.approx(0.9)
    assert cause(run) == "frozen"


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
    assert reason == "the model has no parameter but embedding tables and those expected to be frozen"


def test_an_embedding_table_is_left_to_its_own_rule(tmp_path):
    assert_clean(frozen_parameter, resting(tmp_path / "a", (0,), tensors=linear_stack(embedding=20)))
    only = resting(tmp_path / "b", (0,), tensors=linear_stack(embedding=20)[:1])
    assert_not_applicable(frozen_parameter, only)


def test_skipped_steps_are_no_evidence(tmp_path):
    run = resting(tmp_path / "a", EVERY, steps={"skipped": numpy.arange(200) >= 3})
    assert_skipped(frozen_parameter, run)
    assert judged(frozen_parameter, run, TooFewSteps).taken == 3
    assert_skipped(frozen_parameter, build_run(tmp_path / "b", loss=falling(4)))


def test_what_was_frozen_by_hand_is_a_note(tmp_path):
    finding = assert_finds(frozen_parameter, resting(tmp_path / "a", facts={"requires_grad": False}), Severity.NOTE)
    assert finding.title == "Frozen parameters in the optimizer"
    assert finding.headline == "None of the 200 steps changes 2 of 8 parameter tensors: requires_grad is False"


def test_training_a_head_on_a_pretrained_model_is_a_note(tmp_path):
    """optimizer = SGD(head.parameters())"""
    run = outside(tmp_path / "a", (0, 1, 2, 3, 4, 5))
    assert_finds(frozen_parameter, run, Severity.NOTE)
    assert cause(run) == "transfer learning"


def test_adapters_between_the_layers_of_a_backbone_are_a_note(tmp_path):
    assert_finds(frozen_parameter, outside(tmp_path / "a", (0, 1, 2, 4, 5, 6)), Severity.NOTE)


def test_a_layer_that_the_optimizer_was_not_given_is_a_warning(tmp_path):
    run = outside(tmp_path / "a")
    finding = assert_finds(frozen_parameter, run, Severity.WARNING)
    assert finding.title == "Layers outside the optimizer"
    assert cause(run) == "left out"
    assert finding.tensors == ["layers.1.weight", "layers.1.bias"]
    assert finding.confidence is Confidence.CERTAIN


@pytest.mark.parametrize(("before", "severity"), [(0, Severity.WARNING), (100, Severity.NOTE)])
def test_a_head_on_features_that_nobody_trained_is_a_warning(tmp_path, before, severity):
    """Real trainings: the head alone is in the optimizer, of a new model and of one that was trained before."""
    torch.manual_seed(0)
    inputs = torch.randn(256, 24)
    labels = (inputs @ torch.randn(24, 4)).argmax(dim=1)
    model = nn.Sequential(nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 4))

    def train(optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), labels).backward()
            optimizer.step()

    train(torch.optim.Adam(model.parameters(), lr=0.01), before)
    with recorded(tmp_path / "run"):
        train(torch.optim.Adam(model[4].parameters(), lr=0.01), 20)
    finding = assert_finds(frozen_parameter, load(tmp_path / "run"), severity)
    assert finding.tensors == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert cause(load(tmp_path / "run")) == ("transfer learning" if before else "untrained")


def test_a_learning_rate_of_zero_is_critical(tmp_path):
    run = resting(tmp_path / "a", EVERY, steps={"learning_rate": [[0.0]] * 200})
    assert assert_finds(frozen_parameter, run, Severity.CRITICAL).title == "Learning rate zero"
    assert cause(run) == "rate zero"


def test_a_warmup_that_starts_at_zero_is_not(tmp_path):
    rates = {"learning_rate": [[0.0]] + [[1e-3]] * 199}
    assert_clean(frozen_parameter, build_run(tmp_path / "a", loss=falling(), steps=rates))


def cut_off(path, which=(0, 1), order=None, tensors=None, **more):
    """The tensors `which` have no gradient; modules are called in `order`, else in that of registration."""
    modules = calls(IN_ORDER if order is None else order, **more)
    return resting(path, which, has_grad=False, modules=modules, **({"tensors": tensors} if tensors else {}))


def test_a_front_that_is_cut_off_is_critical(tmp_path):
    run = cut_off(tmp_path / "a")
    finding = assert_finds(frozen_parameter, run, Severity.CRITICAL)
    group = judged(frozen_parameter, run, Unchanged).group
    assert (group.reason, group.cause, len(group.tensors), group.among) == ("no gradient", "cut off", 2, 8)
    assert finding.headline.endswith("2 of 8 parameter tensors: no gradient arrives")
    assert "detach()" in finding.actions[0].text


def test_the_front_is_what_is_called_first_and_not_what_is_registered_first(tmp_path):
    order = {"layers.3": 1, "layers.0": 2, "layers.1": 3, "layers.2": 4}
    run = cut_off(tmp_path / "a", (6, 7), order, _named_modules())
    assert_finds(frozen_parameter, run, Severity.CRITICAL)


def test_a_module_that_no_step_calls_is_a_note(tmp_path):
    """A normalisation that was registered first and is never called, as in TabNet."""
    run = cut_off(tmp_path / "a", order={**IN_ORDER, "layers.0": -1})
    finding = assert_finds(frozen_parameter, run, Severity.NOTE)
    group = judged(frozen_parameter, run, Unchanged).group
    assert (group.reason, group.cause, group.elements) == ("unused", "not called", 1056)
    assert "No step calls model.layers[0]" in finding.explanation
    assert finding.actions[0].text.startswith("Remove 2 tensors of 1,056 elements")


def test_a_module_whose_result_the_loss_does_not_use_is_a_note(tmp_path):
    """The pooler of an encoder of which only the hidden states are used."""
    run = cut_off(tmp_path / "a", (4, 5), tensors=_named())
    assert_finds(frozen_parameter, run, Severity.NOTE)
    assert cause(run) == "dropped"


def actor_critic(path, detached=True, frozen=False, hidden=48):
    """A critic beside an actor in one optimizer, whose loss is made of detached values."""
    torch.manual_seed(0)
    actor = nn.Sequential(nn.Linear(12, 48), nn.Tanh(), nn.Linear(48, 3))
    critic = nn.Sequential(nn.Linear(12, hidden), nn.Tanh(), nn.Linear(hidden, 1))
    if frozen:
        with torch.no_grad():
            for weight in critic.parameters():
                weight.copy_(torch.randn_like(weight).pow(3) * 0.1)  # as trained before
    model = nn.ModuleDict({"actor": actor, "critic": critic})
    with recorded(path):
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(40):
            state = torch.randn(16, 12)
            scores, values = actor(state).log_softmax(1)[:, 0], critic(state).squeeze(1)
            advantage = state[:, 0] - (values.detach() if detached else values)
            optimizer.zero_grad()
            (-(scores * advantage.detach()).mean() + advantage.square().mean()).backward()
            optimizer.step()
    return load(path)


def test_a_critic_that_a_loss_reaches_is_quiet(tmp_path):
    assert_clean(frozen_parameter, actor_critic(tmp_path / "a", detached=False))


@pytest.mark.parametrize("more", [{"frozen": True}, {"hidden": 8}])
def test_a_small_part_or_one_trained_before_that_no_loss_needs_is_a_note(tmp_path, more):
    run = actor_critic(tmp_path / "a", **more)
    assert_finds(frozen_parameter, run, Severity.NOTE)
    assert cause(run) == "dropped"


def test_a_critic_whose_loss_is_detached_is_a_warning(tmp_path):
    run = actor_critic(tmp_path / "a")
    finding = assert_finds(frozen_parameter, run, Severity.WARNING)
    group = judged(frozen_parameter, run, Unchanged).group
    assert (group.cause, len(group.tensors), round(group.share, 2)) == ("ignored", 4, 0.47)
    assert "detach()" in finding.actions[0].text
    assert "critic[0]" in finding.actions[0].text


def test_a_parameter_that_its_module_does_not_use_is_a_note(tmp_path):
    """A mask token of a model that is trained without masks: the model is called first of all."""
    token = TensorFacts(
        id=8, name="mask_token", role="other", module="", module_class="Net", shape=[1, 32], optimizer=0
    )
    tensors = [token, *linear_stack()]
    run = resting(tmp_path / "a", (0,), has_grad=False, tensors=tensors, modules=calls(IN_ORDER))
    finding = assert_finds(frozen_parameter, run, Severity.NOTE)
    assert cause(run) == "not used"
    assert "The module is called and trains without them" in finding.explanation


def test_a_front_under_no_grad_is_a_warning(tmp_path):
    run = cut_off(tmp_path / "a", without_gradient=True)
    assert_finds(frozen_parameter, run, Severity.WARNING)
    assert cause(run) == "cut off by no_grad"


def test_where_calls_were_not_seen_a_front_without_a_gradient_is_a_warning(tmp_path):
    run = resting(tmp_path / "a", has_grad=False)
    assert_finds(frozen_parameter, run, Severity.WARNING)
    assert cause(run) == "no gradient"


def test_a_part_that_is_used_by_what_holds_it_is_cut_off_with_that(tmp_path):
    """The output projection of nn.MultiheadAttention is never called: the attention uses its weights itself."""
    names = ["attention.out", "attention", "norm", "head"]
    tensors = [
        msgspec.structs.replace(t, name=f"{names[t.id // 2]}.{t.role}", module=names[t.id // 2]) for t in linear_stack()
    ]
    order = {"attention": 1, "attention.out": -1, "norm": 2, "head": 3}
    finding = assert_finds(frozen_parameter, cut_off(tmp_path / "a", (0, 1, 2, 3), order, tensors), Severity.CRITICAL)
    assert len(finding.tensors) == 4


@pytest.mark.parametrize("seen", [{"has_grad": False}, {"gradient": 0.0}])
def test_an_expert_that_is_never_chosen_is_a_note(tmp_path, seen):
    run = resting(tmp_path / "a", (4, 5), **seen)
    assert assert_finds(frozen_parameter, run, Severity.NOTE).title == "Unused experts or blocks"
    assert cause(run) == ("never chosen" if "gradient" in seen else "unused block")


def test_an_optimizer_of_another_model_is_critical(tmp_path):
    run = resting(tmp_path / "a", EVERY, has_grad=False)
    assert_finds(frozen_parameter, run, Severity.CRITICAL)
    assert cause(run) == "nothing reached"


def test_gradients_that_are_cleared_before_the_step_are_told(tmp_path):
    """Each backward that was looked at reaches all of them, and no step finds a gradient."""
    run = resting(tmp_path / "a", EVERY, has_grad=False, graph=graph_of())
    finding = assert_finds(frozen_parameter, run, Severity.CRITICAL)
    assert cause(run) == "cleared"
    assert (finding.title, finding.confidence.value) == ("Gradients cleared before the step", "certain")
    assert finding.actions[0].code == "optimizer.zero_grad(); loss.backward(); optimizer.step()"


def test_gradients_are_not_cleared_where_the_graph_does_not_say_it(tmp_path):
    few, part = (msgspec.structs.replace(ONE, **change) for change in ({"used": 0}, {"tensors": [0, 1, 2, 3]}))
    opaque = msgspec.structs.replace(ONE, opaque=True)
    for number, term in enumerate((few, part, opaque)):
        run = resting(tmp_path / str(number), EVERY, has_grad=False, graph=graph_of(terms=[term]))
        assert cause(run) == "nothing reached"
    assert cause(resting(tmp_path / "some", (0, 1), has_grad=False, graph=graph_of())) != "cleared"


def test_zeroing_between_backward_and_step_is_critical(tmp_path):
    run = resting(tmp_path / "a", EVERY, gradient=0.0)
    finding = assert_finds(frozen_parameter, run, Severity.CRITICAL)
    assert cause(run) == "all zero"
    assert finding.actions[0].code == "optimizer.zero_grad(); loss.backward(); optimizer.step()"


def test_zero_gradients_behind_a_dead_layer_are_a_warning(tmp_path):
    run = resting(tmp_path / "a", (0, 1), gradient=0.0, tensors=_named())
    finding = assert_finds(frozen_parameter, run, Severity.WARNING)
    # The bias does not change either, and a gradient of zero is none.
    group = judged(frozen_parameter, run, Unchanged).group
    assert (group.reason, group.cause, len(group.tensors)) == ("zero gradient", "zero gradient", 2)
    table = finding.evidence[1]
    assert isinstance(table, Numbers)
    assert table.columns[2] == "steps with a gradient above 0"
    assert [cells[2] for cells in table.cells[:3]] == ["0 %", "0 %", "100 %"]


def test_a_bias_with_a_zero_gradient_beside_a_weight_that_moves_is_quiet(tmp_path):
    assert_clean(frozen_parameter, resting(tmp_path / "a", (1,), gradient=0.0))


def _named():
    names = ["stem", "body", "neck", "head"]
    return [msgspec.structs.replace(t, name=f"{names[t.id // 2]}.{t.role}") for t in linear_stack()]


def _named_modules():
    """Names that are not those of blocks of a list, in modules that are."""
    return [msgspec.structs.replace(t, module=f"layers.{t.id // 2}") for t in _named()]


def test_a_gradient_without_an_update_is_critical(tmp_path):
    run = resting(tmp_path / "a", facts={"dtype": "bfloat16"})
    finding = assert_finds(frozen_parameter, run, Severity.CRITICAL)
    assert finding.title == "Updates below bfloat16 precision"
    assert cause(run) == "half precision"


def test_a_weight_with_next_to_no_gradient_is_a_note(tmp_path):
    run = resting(tmp_path / "a", (2,), gradient=1e-6)
    assert_finds(frozen_parameter, run, Severity.NOTE)
    group = judged(frozen_parameter, run, Unchanged).group
    assert group.cause == "faint"
    # A bias of 32 has the largest gradient per element: 0.1 / sqrt(32).
    assert group.beside_largest == pytest.approx(1e-6 / 32 / (0.1 / 32**0.5))


@pytest.mark.parametrize(
    ("probed", "confidence"), [(1024, Confidence.CERTAIN), (820, Confidence.HIGH), (-1, Confidence.HIGH)]
)
def test_what_was_sampled_or_may_have_been_is_not_certain(tmp_path, probed, confidence):
    """The weight has 1,024 elements; a record of before does not tell how many of them were looked at."""
    tensors = [msgspec.structs.replace(t, probed=probed if t.id == 2 else t.elements) for t in linear_stack()]
    run = resting(tmp_path / "a", (2, 3), tensors=tensors)
    assert assert_finds(frozen_parameter, run).confidence is confidence


def test_a_fact_of_the_whole_tensor_is_certain_without_a_look_at_it(tmp_path):
    assert cause(outside(tmp_path / "a")) == "left out"
    assert judged(frozen_parameter, load(tmp_path / "a"), Unchanged).is_certain


@pytest.mark.parametrize(("width", "probed"), [(64, 820), (16, 256)])
def test_a_real_weight_is_certain_where_every_element_was_looked_at(tmp_path, width, probed):
    """Trainings on the CPU, of a layer whose result is multiplied by 0."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"body": nn.Linear(width, width), "head": nn.Linear(width, 3)})
    inputs, labels = torch.randn(32, width), torch.arange(32) % 3
    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(8):
            optimizer.zero_grad()
            functional.cross_entropy(model["head"](inputs + 0.0 * model["body"](inputs)), labels).backward()
            optimizer.step()
    run = load(tmp_path / "run")
    assert [t.probed for t in run.meta.tensors] == [probed, width, 3 * width, 3]
    found = judged(frozen_parameter, run, Unchanged)
    assert (found.group.cause, [t.name for t in found.group.tensors]) == ("zero gradient", ["body.weight", "body.bias"])
    assert found.is_certain is (probed == width * width)


def test_each_reason_has_its_finding(tmp_path):
    tensors = [msgspec.structs.replace(t, optimizer=-1) if t.id == 4 else t for t in _named()]
    first = assert_finds(frozen_parameter, cut_off(tmp_path / "a", (0, 1, 4), tensors=tensors), count=2)
    assert (first.severity, first.tensors) == (Severity.CRITICAL, ["stem.weight", "stem.bias"])


def test_what_is_frozen_and_in_no_optimizer_is_quiet(tmp_path):
    """Frozen on purpose: from the start, and the optimizer was not given it. An optimizer that has it is told of."""
    facts = {"requires_grad": False, "optimizer": -1, "group": -1}
    run = resting(tmp_path / "a", has_grad=False, facts=facts)
    assert judged(frozen_parameter, run, Moving).meant == 2
    measured = assert_clean(frozen_parameter, run)
    assert measured == (
        "6 of 8 parameter tensors change during training; 2 frozen and in no optimizer, or copies of trained ones"
    )


def test_what_no_optimizer_has_and_no_gradient_reaches_is_not_to_be_given_to_it(tmp_path):
    run = outside(tmp_path / "a", has_grad=False)
    finding = assert_finds(frozen_parameter, run, Severity.NOTE)
    assert cause(run) == "idle"
    assert not any("to the optimizer" in action.text for action in finding.actions)


def twins(path, **changes):
    """A net and its target network, which is in no optimizer, has no gradient and never moves."""
    both = [
        msgspec.structs.replace(
            t, id=t.id + 8 * copy, name=t.name.replace("layers", name), module=t.module.replace("layers", name),
            depth=t.id + 8 * copy, optimizer=-copy,
        )
        for copy, name in enumerate(("q_net", "q_net_target"))
        for t in linear_stack()
    ]  # fmt: skip
    values = numpy.tile(numpy.random.default_rng(0).uniform(1, 2, 8), 2)
    values[8:] *= changes.pop("apart", 1.0)
    still = numpy.arange(16) >= 8
    stats = {
        "update_norm": numpy.where(still, 0.0, 1e-3),
        "drift_norm": numpy.where(still, 0.0, 0.1),
        "has_grad": ~still,
        "gradient_norm": numpy.where(still, numpy.nan, 0.1),
        "weight_norm": values,
        "weight_max_abs": values / 4,
    }
    changes["stats"] = {**stats, **changes.get("stats", {})}
    return build_run(path, loss=falling(), tensors=changes.pop("tensors", both), facts=TEN, **changes)


def test_a_target_network_that_is_not_updated_within_the_run_is_quiet(tmp_path):
    run = twins(tmp_path / "a")
    assert_clean(frozen_parameter, run)
    assert judged(frozen_parameter, run, Moving).meant == 8


def test_a_net_of_other_values_is_no_copy(tmp_path):
    finding = assert_finds(frozen_parameter, twins(tmp_path / "a", apart=1.01), Severity.NOTE)
    assert finding.tensors[0] == "q_net_target.0.weight"


def test_a_twin_that_gets_a_gradient_is_no_copy(tmp_path):
    """The second tower of a siamese net that was copied from the first, and left out of the optimizer."""
    stats = {"has_grad": True, "gradient_norm": 0.1}
    run = twins(tmp_path / "a", stats=stats)
    assert "in no optimizer" in assert_finds(frozen_parameter, run).headline
    assert judged(frozen_parameter, run, Unchanged).group.reason == "not owned"


def test_layers_of_one_list_that_begin_equal_are_no_copies(tmp_path):
    """nn.TransformerEncoder makes all of its layers from one."""
    values = {"weight_norm": [1.25, 1.5] * 4, "weight_max_abs": [0.5, 0.25] * 4}
    tensors = [msgspec.structs.replace(t, name=t.name.replace("layers", "encoder.layers")) for t in linear_stack()]
    assert_finds(frozen_parameter, outside(tmp_path / "a", tensors=tensors, values=values), Severity.WARNING)


def test_updates_below_the_precision_of_the_weights_follow_the_learning_rate(tmp_path):
    """AdamW at 1e-9: the weights of a normalisation are 1, and the next number is 1.2e-7 away."""
    values = {"weight_norm": numpy.sqrt([1024, 32] * 4)}
    rates = {"learning_rate": [[1e-9]] * 200}
    run = resting(tmp_path / "a", values=values, steps=rates)
    finding = assert_finds(frozen_parameter, run, Severity.CRITICAL)
    assert finding.follows[0] == "learning_rate_too_low"
    assert finding.title == "Updates below float32 precision"
    assert cause(run) == "below precision"
    # With a rate that the weights can hold, something undoes the updates, and that is a cause of its own.
    usual = resting(tmp_path / "b", values=values)
    assert assert_finds(frozen_parameter, usual, Severity.CRITICAL).follows == []
    assert cause(usual) == "no effect"


def test_a_layer_whose_input_is_zero_is_told_to_look_in_front_of_it(tmp_path):
    run = resting(tmp_path / "a", (2,), gradient=0.0)
    finding = assert_finds(frozen_parameter, run, Severity.WARNING)
    assert cause(run) == "zero input"
    assert "Every input of model.layers[1] is zero" in finding.explanation
    assert "behind" not in " ".join(action.text for action in finding.actions)


def test_the_reverse_direction_of_which_only_the_last_output_is_used(tmp_path):
    with recorded(tmp_path / "run"):
        torch.manual_seed(0)
        model = nn.ModuleDict({"lstm": nn.LSTM(4, 4, bidirectional=True, batch_first=True), "fc": nn.Linear(8, 2)})
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(60):
            x = torch.randn(16, 5, 4)
            output, _ = model["lstm"](x)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model["fc"](output[:, -1]), (x.sum((1, 2)) > 0).long()).backward()
            optimizer.step()
    run = load(tmp_path / "run")
    assert cause(run) == "last output"
    finding = assert_finds(frozen_parameter, run, Severity.NOTE)
    assert finding.tensors == ["lstm.weight_hh_l0_reverse"]
    assert finding.title == "Reverse direction makes one step"


def test_a_part_that_rests_while_nothing_is_learned_is_critical(tmp_path):
    """It stands above no_learning, and is not to be milder than that."""
    run = resting(tmp_path / "a", (2,), gradient=0.0, loss=flat())
    assert_finds(frozen_parameter, run, Severity.CRITICAL)


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
    assert len(judged(frozen_parameter, run, Unchanged).group.tensors) == 10_000
