import math

import msgspec
import numpy
import pandas
import pytest

from gradaudit.chart_data import Numbers
from gradaudit.diagnosers.unscaled_input import (
    LargeEstimate,
    LargeSample,
    NormalisedSample,
    SmallEstimate,
    SmallSample,
    unscaled_input,
)
from gradaudit.findings import Severity
from gradaudit.reading.run import load
from gradaudit.schema import ModuleFacts, TensorFacts
from tests.build import build_run, linear_stack, write_table
from tests.diagnosers.runs import TEN, falling, healthy, model_input
from tests.diagnosers.sick_layers import large_sample, raw_input
from tests.diagnosers.verbs import assert_clean, assert_finds, assert_skipped, judged


def test_inputs_of_size_one_are_quiet(tmp_path):
    run = healthy(tmp_path)
    assert "have a size of" in assert_clean(unscaled_input, run)
    assert 0.1 < judged(unscaled_input, run, SmallEstimate).scale.typical < 3


@pytest.mark.parametrize("size", [0.13, 3.0])
def test_the_healthy_extremes_are_quiet(tmp_path, size):
    assert_clean(unscaled_input, raw_input(tmp_path / "a", size))


def test_a_layer_that_a_normalisation_follows_says_nothing(tmp_path):
    assert_skipped(unscaled_input, raw_input(tmp_path / "a", 1.0, bias=1e-7))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("norm_class", ["BatchNorm2d", "InstanceNorm2d"])
def test_the_rounding_that_a_normalisation_leaves_of_a_bias_is_no_size(tmp_path, norm_class, apart):
    # A convolution over 100 images of 28 x 28, behind it a batch normalisation: the estimate was 1,900.
    layers = [ModuleFacts(id=0, name="", module_class="ConvNet"),
              ModuleFacts(id=1, name="layers.0", module_class="Linear")]  # fmt: skip
    between = [ModuleFacts(id=2, name="layers.1", module_class="Linear")] if apart else []
    norm = ModuleFacts(id=3, name="norm", module_class=norm_class)
    scale = TensorFacts(id=8, name="norm.weight", role="norm", module="norm", module_class=norm_class,
                        shape=[32], depth=8, optimizer=0, group=0)  # fmt: skip
    tensors = [*linear_stack(), scale]
    run = raw_input(tmp_path / "a", 1900.0, tensors=tensors, modules=[*layers, *between, norm])
    assert_skipped(unscaled_input, run)


def test_a_normalisation_of_other_channels_does_not_hide_raw_inputs(tmp_path):
    names = [("", "Net"), ("layers.0", "Linear"), ("layers.1", "Linear"), ("norm", "BatchNorm1d")]
    modules = [ModuleFacts(id=at, name=name, module_class=kind) for at, (name, kind) in enumerate(names)]
    assert_finds(unscaled_input, raw_input(tmp_path / "a", 1900.0, modules=modules), Severity.WARNING)


def test_a_layer_without_a_bias_says_nothing(tmp_path):
    tensors = [tensor for tensor in linear_stack() if tensor.name != "layers.0.bias"]
    assert_skipped(unscaled_input, build_run(tmp_path / "a", loss=falling(), tensors=tensors, facts=TEN))


def test_a_frozen_first_layer_says_nothing_of_the_inputs(tmp_path):
    tensors = [
        msgspec.structs.replace(tensor, requires_grad=tensor.id > 1, optimizer=0 if tensor.id > 1 else -1)
        for tensor in linear_stack()
    ]
    assert_skipped(unscaled_input, raw_input(tmp_path / "a", tensors=tensors))


def test_a_single_output_says_nothing(tmp_path):
    tensors = [msgspec.structs.replace(t, shape=[1, 32] if t.role == "weight" else [1]) for t in linear_stack(1)]
    assert_skipped(unscaled_input, raw_input(tmp_path / "a", tensors=tensors))


def test_one_step_with_hardly_any_gradient_of_the_bias_is_quiet(tmp_path):
    gradient = numpy.full((200, 8), 0.1)
    gradient[3, 1] = 1e-5
    assert_clean(
        unscaled_input, build_run(tmp_path / "a", loss=falling(), stats={"gradient_norm": gradient}, facts=TEN)
    )


def test_errors_that_average_out_over_a_large_batch_are_quiet(tmp_path):
    gradient = numpy.full((200, 8), 0.1)
    gradient[:, 1] *= numpy.geomspace(0.2, 1e-3, 200)
    run = build_run(tmp_path / "a", loss=falling(), stats={"gradient_norm": gradient}, facts=TEN)
    assert_clean(unscaled_input, run, scale=1.0)


def test_a_layer_that_starts_at_zero_says_nothing(tmp_path):
    weight = numpy.ones((200, 8))
    weight[0, 0] = 0
    gradient = numpy.full((200, 8), 0.1)
    gradient[:, 0] = 100
    stats = {"weight_norm": weight, "gradient_norm": gradient}
    assert_skipped(unscaled_input, build_run(tmp_path / "a", loss=falling(), stats=stats, facts=TEN))


def test_sampled_inputs_overrule_the_estimate(tmp_path):
    samples = [model_input(step) for step in range(0, 200, 10)]
    run = raw_input(tmp_path / "a", samples=samples)
    assert judged(unscaled_input, run, SmallSample).sample.largest == 3
    assert_clean(unscaled_input, run)


def test_raw_inputs_are_a_warning(tmp_path):
    run = raw_input(tmp_path / "a")
    found = judged(unscaled_input, run, LargeEstimate)
    assert found.scale.typical == pytest.approx(100)
    assert (found.inputs, found.sure, found.span.first, found.span.last) == (32, True, 0, 19)
    finding = assert_finds(unscaled_input, run, Severity.WARNING)
    assert finding.headline == "The inputs of layers.0 have an RMS of 100; its initial weights are made for 1"
    assert finding.measures[0].value == found.scale.typical
    assert finding.tensors == ["layers.0.weight"]


def _behind(shape, path, size):
    """The same layers behind a parameter of this shape, which is no layer."""
    first = msgspec.structs.replace(
        linear_stack()[0], name="position", module="", module_class="VisionTransformer", shape=shape, output_axis=-1
    )
    moved = [
        msgspec.structs.replace(
            tensor, id=tensor.id + 1, depth=tensor.depth + 1, output_axis=0 if "w" in tensor.name else -1
        )
        for tensor in linear_stack()
    ]
    gradient = numpy.full((200, 9), 0.1)
    gradient[:, 1] = 0.1 * size * math.sqrt(32)
    stats = {"gradient_norm": gradient}
    return build_run(path, loss=falling(), tensors=[first, *moved], stats=stats, facts=TEN)


def test_a_matrix_that_may_be_a_layer_of_its_own_hides_the_ones_behind_it(tmp_path):
    assert_skipped(unscaled_input, _behind([16, 32], tmp_path / "a", 100.0))


def test_small_inputs_behind_a_table_of_positions_are_quiet(tmp_path):
    assert_clean(unscaled_input, _behind([1, 10, 32], tmp_path / "a", 3.0))


def test_raw_inputs_behind_a_table_of_positions_are_found(tmp_path):
    finding = assert_finds(unscaled_input, _behind([1, 10, 32], tmp_path / "a", 100.0), Severity.WARNING)
    assert finding.tensors == ["layers.0.weight"]


def test_a_run_that_dies_at_once_is_judged_by_the_steps_before(tmp_path):
    loss = falling(60)
    loss[3:] = numpy.nan
    gradient = numpy.full((60, 8), numpy.nan)
    gradient[:3] = 0.1
    gradient[:3, 0] = 100.0
    run = build_run(tmp_path / "a", loss=loss, stats={"gradient_norm": gradient}, facts=TEN)
    assert_finds(unscaled_input, run, Severity.WARNING)


def test_it_says_which_steps_are_not_drawn_or_do_not_count(tmp_path):
    gradient = numpy.full((250, 8), 0.1)
    gradient[:, 0] = 100.0
    gradient[30:40, 0] = 2e6  # an estimate of a million and more
    gradient[40:44, 1] = 0.0
    layers = [ModuleFacts(id=0, name="layers.0", module_class="Linear")]  # in a chain small gradients are real
    run = build_run(tmp_path / "a", loss=falling(250), stats={"gradient_norm": gradient}, facts=TEN, modules=layers)
    chart = assert_finds(unscaled_input, run, Severity.WARNING).evidence[0]
    assert "Of the 250 recorded steps the first 200 are shown." in chart.caption
    assert "At 10 of the 200 steps the estimate is above 100,000: there the gradient" in chart.caption
    assert chart.series[0].y[35] > 1e6, "and drawn all the same"
    assert "At 4 of them the bias has next to no gradient" in chart.caption
    assert sum(y is None for y in chart.series[0].y) == 4


def test_large_amounts_are_told_from_a_normalisation_by_the_modules(tmp_path):
    layers = [ModuleFacts(id=0, name="layers.0", module_class="Linear")]
    assert_finds(unscaled_input, raw_input(tmp_path / "a", 9e4, modules=layers), Severity.WARNING)
    norm = ModuleFacts(id=1, name="norm", module_class="BatchNorm1d", batch_norm=True)
    assert_skipped(unscaled_input, raw_input(tmp_path / "b", 9e4, modules=[*layers, norm]))


def test_the_rounding_of_a_key_projection_is_no_size(tmp_path):
    layers = [ModuleFacts(id=0, name="", module_class="Attention"),
              ModuleFacts(id=1, name="layers.0", module_class="Linear")]  # fmt: skip
    assert_skipped(unscaled_input, raw_input(tmp_path / "a", 1.0, bias=1e-6, modules=layers))
    assert_skipped(unscaled_input, raw_input(tmp_path / "b", 1.0, bias=1e-6, modules=layers[1:]))


def test_a_net_that_dies_at_once_is_judged_by_the_steps_before(tmp_path):
    gradient = numpy.full((200, 8), 0.1)
    gradient[:, 0] = 100
    gradient[5:, :4] = 0
    run = build_run(tmp_path / "a", loss=falling(), stats={"gradient_norm": gradient}, facts=TEN)
    assert_finds(unscaled_input, run, Severity.WARNING)


def test_a_large_sampled_input_is_a_warning(tmp_path):
    run = large_sample(tmp_path / "a", ratio=3000.0)
    sample = judged(unscaled_input, run, LargeSample).sample
    assert (sample.largest, sample.step, sample.feature_std_ratio, sample.uneven) == (255, 0, 3000, True)
    finding = assert_finds(unscaled_input, run, Severity.WARNING)
    assert finding.headline == (
        "The inputs of the model reach 255 at step 0; its initial weights are made for a size of 1"
    )
    assert finding.measures[0].value == 255
    assert isinstance(finding.evidence[0], Numbers)


def test_a_large_sample_that_is_normalised_first_is_quiet(tmp_path):
    norm = ModuleFacts(id=1, name="norm", module_class="BatchNorm1d", batch_norm=True)
    layer = ModuleFacts(id=2, name="layers.0", module_class="Linear")
    root = ModuleFacts(id=0, name="", module_class="Sequential")
    run = large_sample(tmp_path / "a", modules=[root, norm, layer])
    assert judged(unscaled_input, run, NormalisedSample).module == "norm"
    assert_clean(unscaled_input, run)
    assert_finds(unscaled_input, large_sample(tmp_path / "b", modules=[root, layer, norm]), Severity.WARNING)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
@pytest.mark.parametrize("every", [1, 5])
def test_scale_and_cadence_change_nothing(tmp_path, scale, every):
    gradient = numpy.full((len(range(0, 200, every)), 8), 0.1 * scale)
    gradient[:, 0] *= 100 * numpy.sqrt(32)
    run = build_run(
        tmp_path / "a", loss=scale * falling(), stats={"gradient_norm": gradient}, recorded=range(0, 200, every)
    )
    assert assert_finds(unscaled_input, run).measures[0].value == pytest.approx(100)


def test_of_two_optimizers_the_one_with_the_first_layer_is_named_and_the_other_not_asked(tmp_path):
    run = raw_input(tmp_path / "a")
    frames = [run.steps.assign(optimizer=i, global_step=2 * numpy.arange(200) + i) for i in range(2)]
    write_table(tmp_path / "a" / "rank00000", "steps", pandas.concat(frames))
    run = load(tmp_path / "a")
    assert judged(unscaled_input, run, LargeEstimate).training.id == 0
    assert assert_finds(unscaled_input, run).headline.endswith("made for 1 (optimizer 0, AdamW)")
