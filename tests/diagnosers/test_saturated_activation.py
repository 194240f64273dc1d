import math

import msgspec
import numpy
import pytest

from gradaudit.chart_data import Dots
from gradaudit.diagnosers.saturated_activation import NotSampled, NotSaturated, Saturated, saturated_activation
from gradaudit.findings import Confidence, Severity
from gradaudit.schema import LossFacts, ModuleFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import HEALTHY_WITH, TEN, activation, falling, flat, healthy
from tests.diagnosers.sick_layers import TANH, chained, saturated, saturated_output, stuck_output
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_not_applicable, assert_skipped, judged


def test_activations_that_react_are_quiet(tmp_path):
    run = healthy(tmp_path, **HEALTHY_WITH["saturated_activation"])
    assert_clean(saturated_activation, run)
    assert judged(saturated_activation, run, NotSaturated).worst == pytest.approx(0.05)


def test_the_healthy_extreme_is_quiet(tmp_path):
    assert_clean(saturated_activation, saturated(tmp_path / "a", 0.48))


def test_a_burst_is_quiet(tmp_path):
    samples = [activation(step, 0.95 if step in (150, 170) else 0.1, 2) for step in range(0, 200, 10)]
    assert_clean(saturated_activation, build_run(tmp_path / "a", loss=falling(), samples=samples, modules=TANH))


def test_an_output_that_has_become_sure_is_quiet(tmp_path):
    assert_clean(saturated_activation, saturated_output(tmp_path / "a", first=0.0))


def test_a_model_without_them_is_not_judged(tmp_path):
    modules = [ModuleFacts(id=0, name="relu", module_class="ReLU")]
    assert_not_applicable(saturated_activation, build_run(tmp_path / "a", loss=falling(), modules=modules))


def test_it_says_how_to_sample_activations(tmp_path):
    assert_skipped(saturated_activation, build_run(tmp_path / "a", loss=falling(), modules=TANH))
    few = [activation(step, 0.9, 2) for step in range(0, 40, 10)]
    run = build_run(tmp_path / "b", loss=falling(), modules=TANH, samples=few)
    assert [module.name for module in judged(saturated_activation, run, NotSampled).modules] == ["squash"]
    assert assert_skipped(saturated_activation, run) == (
        "the outputs of the activation squash were not sampled at 5 steps"
    )


@pytest.mark.parametrize(("kind", "gain"), [("Tanh", 5 / 3), ("Sigmoid", 4.0), ("Tanh", 4.0)])
def test_what_was_not_sampled_is_neither_accused_nor_cleared(tmp_path, kind, gain):
    assert_skipped(saturated_activation, chained(tmp_path / "a", gain, kind))


def test_small_inputs_do_not_saturate_behind_large_weights(tmp_path):
    assert_skipped(saturated_activation, chained(tmp_path / "a", inputs=0.05))


def test_weights_that_shrink_to_size_or_grow_late_are_quiet(tmp_path):
    size = numpy.where(numpy.arange(8) % 2, 0.1, math.sqrt(32)) * numpy.geomspace(20, 1, 200)[:, None]
    assert_skipped(saturated_activation, chained(tmp_path / "a", stats={"weight_norm": size}))
    assert_skipped(saturated_activation, chained(tmp_path / "b", stats={"weight_norm": size[::-1]}))


def test_modules_that_may_not_follow_each_other_say_nothing(tmp_path):
    modules = [
        msgspec.structs.replace(module, module_class="Net") if not module.name else module
        for module in chained(tmp_path / "a").meta.modules
    ]
    assert_skipped(saturated_activation, chained(tmp_path / "b", modules=modules))


@pytest.mark.parametrize("kind", ["Tanh", "Sigmoid"])
def test_large_weights_between_two_activations_tell_of_it_without_a_sample(tmp_path, kind):
    run = chained(tmp_path / "a", 40.0, kind)
    found = judged(saturated_activation, run, Saturated)
    assert [one.module.name for one in found.found] == ["3", "5"]
    assert 0.89 < found.found[0].last < 1
    assert found.estimated
    finding = assert_finds(saturated_activation, run, Severity.WARNING)
    assert finding.title == "Saturated activations"
    assert finding.headline.startswith(f"Activation 3 ({kind}) is saturated for 9")
    assert finding.confidence is Confidence.MEDIUM


def test_an_output_that_is_not_stuck_from_the_start_to_the_end_is_quiet(tmp_path):
    assert_skipped(saturated_activation, stuck_output(tmp_path / "a", last=0.2))
    assert_skipped(saturated_activation, stuck_output(tmp_path / "b", mean=0.0, std=0.9))
    assert_skipped(saturated_activation, stuck_output(tmp_path / "c", mean=3.0))


def test_an_output_that_is_stuck_is_known_by_the_losss_input(tmp_path):
    run = stuck_output(tmp_path / "a")
    found = judged(saturated_activation, run, Saturated)
    assert [one.module.name for one in found.found] == ["squash"]
    assert (found.found[0].first, found.found[0].last, found.found[0].ends) == (1, 1, True)
    assert found.estimated
    finding = assert_finds(saturated_activation, run, Severity.WARNING)
    assert finding.title == "Saturated output activation"
    assert finding.headline == "Activation squash is saturated for 100 % of its outputs"
    assert finding.confidence is Confidence.MEDIUM
    run = stuck_output(tmp_path / "b", mean=0.0, std=0.9995)
    assert judged(saturated_activation, run, Saturated).found[0].last == pytest.approx(0.95, abs=0.001)
    sure = assert_finds(saturated_activation, run, Severity.WARNING)
    assert sure.headline == "Activation squash is saturated for at least 95 % of its outputs"


def test_what_another_module_may_return_is_not_taken_for_the_output(tmp_path):
    """A tanh that a recurrent layer or a gate applies may be registered last, and does not end the model."""
    names = [("", "Net"), ("layers.0", "Linear"), ("gate", "Sigmoid"), ("squash", "Tanh")]
    assert_skipped(saturated_activation, stuck_output(tmp_path / "a", modules=listed(names)))
    assert_skipped(
        saturated_activation, stuck_output(tmp_path / "b", modules=listed([*names[:2], names[3], ("drop", "Dropout")]))
    )
    nested = [("", "Net"), ("head", "Sequential"), ("head.0", "Linear"), ("head.1", "Tanh"), ("head.2", "Flatten")]
    assert_skipped(saturated_activation, stuck_output(tmp_path / "c", modules=listed(nested)))
    assert_finds(saturated_activation, stuck_output(tmp_path / "d", modules=listed([*nested[:4], ("drop", "Dropout")])))


@pytest.mark.parametrize(("positive", "judged"), [(0.005, False), (0.995, False), (0.5, True)])
def test_a_sure_output_is_right_where_nearly_all_targets_are_the_same(tmp_path, positive, judged):
    facts = LossFacts(id=0, function="binary_cross_entropy", target_mean=positive)
    modules = listed([("", "Net"), ("layers.0", "Linear"), ("probability", "Sigmoid")])
    run = stuck_output(tmp_path / "a", modules=modules, facts=facts)
    (assert_finds if judged else assert_skipped)(saturated_activation, run)


def listed(names):
    return [ModuleFacts(id=place, name=name, module_class=kind) for place, (name, kind) in enumerate(names)]


def test_a_saturated_layer_is_a_warning(tmp_path):
    run = saturated(tmp_path / "a")
    found = judged(saturated_activation, run, Saturated)
    assert found.found[0].last == pytest.approx(0.9)
    assert (found.limits, found.estimated, found.span.first) == ((0.6,), False, 0)
    start = found.starts[0]
    assert (start.tensor.name, start.usual) == ("layers.0.weight", pytest.approx(5 / 3 / math.sqrt(32)))
    finding = assert_finds(saturated_activation, run, Severity.WARNING)
    assert finding.title == "Saturated activation"
    assert finding.measures[0].value == found.found[0].last


def test_weights_that_start_too_large_are_told_by_their_size(tmp_path):
    run = saturated(tmp_path / "a", stats={"weight_norm": 32.0})
    found = judged(saturated_activation, run, Saturated)
    assert (found.starts[0].rms, found.starts[0].too_large, found.large_weights) == (1, True, True)
    finding = assert_finds(saturated_activation, run)
    assert "with a standard deviation of 0.29 instead of 1.0: Glorot's" in finding.actions[0].text


def test_the_span_begins_where_it_saturates(tmp_path):
    assert judged(saturated_activation, saturated(tmp_path / "a", first=0.1), Saturated).span.first == 10


def test_an_output_that_starts_saturated_is_a_warning(tmp_path):
    run = saturated_output(tmp_path / "a")
    found = judged(saturated_activation, run, Saturated)
    assert (found.found[0].ends, found.limits, found.begin) == (True, (0.9,), pytest.approx(0.95))
    finding = assert_finds(saturated_activation, run, Severity.WARNING)
    assert finding.actions[0].text.startswith("Remove probability")


def test_the_output_of_a_discriminator_before_its_generator_is_an_output(tmp_path):
    names = [("critic", "Sequential"), ("critic.0", "Linear"), ("critic.1", "Sigmoid"), ("generator", "Sequential"),
             ("generator.0", "Linear")]  # fmt: skip
    modules = [ModuleFacts(id=place, name=name, module_class=kind) for place, (name, kind) in enumerate(names)]
    tensors = [
        msgspec.structs.replace(tensor, module=module)
        for tensor, module in zip(linear_stack(1), ["critic.0", "generator.0"], strict=True)
    ]
    sure = {"modules": modules, "tensors": tensors, "first": 0.1}
    assert_clean(saturated_activation, saturated(tmp_path / "a", 0.95, **sure))
    alone = [ModuleFacts(id=5, name="", module_class="Net"), *modules]
    assert_finds(saturated_activation, saturated(tmp_path / "b", 0.95, **{**sure, "modules": alone}))


def test_several_are_told_once_and_the_first_is_named(tmp_path):
    more = [("squash2", "Tanh"), ("layers.2", "Linear")]
    modules = [*TANH, *[ModuleFacts(id=4 + i, name=n, module_class=c) for i, (n, c) in enumerate(more)]]
    samples = [activation(step, 0.9, module) for step in range(0, 200, 10) for module in (2, 4)]
    run = build_run(tmp_path / "a", loss=falling(), modules=modules, samples=samples)
    assert [one.module.name for one in judged(saturated_activation, run, Saturated).found] == ["squash", "squash2"]
    finding = assert_finds(saturated_activation, run)
    assert finding.headline == "Activation squash is saturated for 90 % of its outputs, and so is 1 other activation"


def test_every_sampled_activation_is_drawn_and_the_saturated_ones_are_marked(tmp_path):
    modules = [*TANH, ModuleFacts(id=4, name="calm", module_class="Tanh"),
               ModuleFacts(id=5, name="layers.2", module_class="Linear")]  # fmt: skip
    samples = [activation(step, 0.9 if module == 2 else 0.2, module) for step in range(0, 200, 10) for module in (2, 4)]
    dots = assert_finds(
        saturated_activation, build_run(tmp_path / "a", loss=falling(), modules=modules, samples=samples)
    ).evidence[0]
    assert isinstance(dots, Dots)
    assert [(dot.label, dot.value, dot.flagged) for dot in dots.dots] == [
        ("squash.output", 0.9, True),
        ("calm.output", 0.2, False),
    ]
    assert [mark.x for mark in dots.marks] == [0.6]


def test_every_saturated_layer_is_to_be_initialised_and_its_size_is_told(tmp_path):
    run = chained(tmp_path / "a", 40.0)
    found = judged(saturated_activation, run, Saturated)
    assert [start.tensor.name for start in found.starts] == ["2.weight", "4.weight"]
    assert found.starts[0].times == pytest.approx(24 * math.sqrt(1 / 32) * math.sqrt(32))
    assert found.large_weights
    action = assert_finds(saturated_activation, run).actions[0]
    assert "by the same rule" in action.text
    assert action.code.count("nn.init.xavier_normal_") == 2


def test_it_says_that_nothing_is_learned_only_where_no_learning_does(tmp_path):
    away = numpy.linspace(2.31, 2.40, 200)
    away[150:] = 9.0
    for place, (loss, words) in enumerate(
        [(flat(), "The model has learned nothing."), (away, "The loss starts at 2.31 and ends at 9.00.")]
    ):
        samples = [activation(step, 0.9, 2) for step in range(0, 200, 10)]
        run = build_run(tmp_path / str(place), loss=loss, facts=TEN, modules=TANH, samples=samples)
        assert words in assert_finds(saturated_activation, run).explanation
