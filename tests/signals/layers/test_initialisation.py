"""How layers start, against torch.nn's defaults."""

import math

import msgspec
import numpy
import pytest
import torch
from torch import nn

from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.initialisation import first_rms, output_bias, output_layer
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling

LAYERS = [nn.Linear(64, 128), nn.Linear(256, 32), nn.Conv1d(16, 64, 5), nn.Conv2d(16, 64, 3)]


def run_of(path, layer, scale=1.0, **changes):
    weight = layer.weight.detach()
    tensor = TensorFacts(id=0, name="head.weight", role="weight", module="head", module_class=type(layer).__name__,
                         shape=list(weight.shape), optimizer=0, group=0)  # fmt: skip
    norms = numpy.asarray([scale * float(weight.norm())]) * numpy.linspace(1, 3, 20)[:, None]
    norms = norms[list(changes.get("recorded", range(20)))]
    return build_run(path, loss=falling(20), tensors=[tensor], stats={"weight_norm": norms}, **changes)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_it_is_compared_with_what_torch_draws(tmp_path, layer, scale):
    run = run_of(tmp_path / "a", layer, scale)
    start = output_layer(run.trainings[0])
    weight = layer.weight.detach()
    assert start.rms == pytest.approx(scale * float(weight.square().mean().sqrt()), rel=1e-5)
    assert start.usual == pytest.approx(float(weight.square().mean().sqrt()), rel=0.03)
    assert start.inputs == weight[0].numel()
    assert first_rms(run, run.meta.tensors[0]) == start.rms


def test_a_record_that_begins_later_knows_no_start(tmp_path):
    run = run_of(tmp_path / "a", LAYERS[0], recorded=range(5, 20, 5))
    assert output_layer(run.trainings[0]) is None
    assert math.isnan(first_rms(run, run.meta.tensors[0]))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_start_that_is_no_number_is_none(tmp_path, value):
    assert output_layer(run_of(tmp_path / "a", LAYERS[0], value).trainings[0]) is None


def test_the_deepest_layer_counts_and_an_empty_tensor_has_no_size(tmp_path):
    torch.manual_seed(0)
    tensors = linear_stack(3)
    tensors[1] = msgspec.structs.replace(tensors[1], shape=[0])
    run = build_run(tmp_path / "a", loss=falling(20), tensors=tensors, stats={"weight_norm": numpy.arange(1.0, 7.0)})
    assert output_layer(run.trainings[0]).name == "layers.2.weight"
    assert output_layer(run.trainings[0]).rms == pytest.approx(5 / 32)
    assert math.isnan(first_rms(run, tensors[1]))
    assert first_rms(run, tensors[2]) == pytest.approx(3 / 32)


@pytest.mark.parametrize(("name", "found"), [("head.bias", True), ("other.bias", False)])
def test_the_bias_of_the_output_layer_is_known_by_its_name(tmp_path, name, found):
    weight, bias = linear_stack(1)[:2]
    tensors = [msgspec.structs.replace(weight, name="head.weight"), msgspec.structs.replace(bias, name=name)]
    run = build_run(tmp_path / "a", loss=falling(20), tensors=tensors)
    assert output_bias(run.trainings[0]) == (tensors[1] if found else None)
    later = build_run(tmp_path / "b", loss=falling(20), tensors=tensors, recorded=range(5, 20))
    assert output_bias(later.trainings[0]) is None
