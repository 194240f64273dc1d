"""Saturation that is inferred, against saturation that is counted."""

import math

import numpy
import pytest
import torch

from gradaudit.schema import LossFacts, ModuleFacts, TensorFacts
from gradaudit.signals.activations.inferred_saturation import inferred_hidden, inferred_output
from tests.build import build_run
from tests.diagnosers.runs import falling, loss_input

SATURATED = {"Tanh": lambda y: y.abs() > 0.99, "Sigmoid": lambda y: (y < 0.01) | (y > 0.99)}
SQUASH = {"Tanh": torch.tanh, "Sigmoid": torch.sigmoid}


def chain(*classes):
    return [ModuleFacts(id=0, name="", module_class="Sequential")] + [
        ModuleFacts(id=1 + place, name=str(place), module_class=name) for place, name in enumerate(classes)
    ]


def output_share(path, outputs, kind, facts=None, modules=None):
    sample = loss_input(0, low=float(outputs.min()), high=float(outputs.max()))
    sample |= {"mean": float(outputs.mean()), "std": float(outputs.std(correction=0))}
    facts = facts or LossFacts(id=0, function="mse_loss")
    run = build_run(path, loss=falling(20), modules=modules or chain("Linear", kind), samples=[sample], facts=facts)
    frame = inferred_output(run, run.meta.modules[2])
    return None if frame is None else float(frame["saturated_fraction"].iloc[0])


@pytest.mark.parametrize("kind", ["Tanh", "Sigmoid"])
@pytest.mark.parametrize("size", [0.5, 3.0, 30.0, 3000.0])
def test_it_is_never_more_than_what_is_saturated_and_near_it_when_nearly_all_are(tmp_path, kind, size):
    inputs = size * torch.randn(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs = SQUASH[kind](inputs)
    counted = float(SATURATED[kind](outputs).double().mean())
    found = output_share(tmp_path / "a", outputs, kind)
    assert found <= counted + 1e-6
    if size == 3000:
        assert found == pytest.approx(counted, abs=0.1)
    if size == 0.5:
        assert found == 0


def test_where_another_module_may_have_made_it_nothing_is_inferred(tmp_path):
    sure = torch.ones(100)
    assert output_share(tmp_path / "a", sure, "Tanh") == pytest.approx(1)
    assert output_share(tmp_path / "b", sure, "Tanh", modules=chain("Linear", "Tanh", "Linear")) is None
    assert output_share(tmp_path / "c", 2 * sure, "Tanh") is None
    one_sided = LossFacts(id=0, function="binary_cross_entropy", target_mean=0.999)
    assert output_share(tmp_path / "d", sure, "Sigmoid", one_sided) is None


def hidden(path, size, weight, modules=None, source=1.0):
    """Rows of a batch of one: the gradient of the weight is that of the bias times the inputs' norm."""
    tensors = [
        TensorFacts(id=i, name=f"2.{role}", role=role, module="2", module_class="Linear", shape=shape, depth=i,
                    optimizer=0, group=0)
        for i, (role, shape) in enumerate([("weight", [200, 100]), ("bias", [200])])
    ]  # fmt: skip
    stats = {"gradient_norm": numpy.asarray([size * 10.0, source]), "weight_norm": numpy.asarray([weight, 0.0])}
    modules = modules or chain("Linear", "Tanh", "Linear", "Tanh")
    run = build_run(path, loss=falling(3), tensors=tensors, stats=stats, modules=modules)
    return inferred_hidden(run, run.meta.modules[-1])


@pytest.mark.parametrize("size", [0.3, 1.0])
@pytest.mark.parametrize("weight", [10.0, 100.0])
def test_of_random_weights_it_is_the_share_that_is_counted(tmp_path, size, weight):
    """100 inputs of one size, and weights [200, 100] of this norm, as they are drawn."""
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(20_000, 100, generator=random) * weight / math.sqrt(200 * 100)
    outputs = torch.tanh(drawn @ (size * torch.randn(100, generator=random).sign()))
    counted = float(SATURATED["Tanh"](outputs).double().mean())
    found = hidden(tmp_path / "a", size, weight)
    assert found["step"].tolist() == [0, 1, 2]
    numpy.testing.assert_allclose(found["saturated_fraction"], counted, atol=0.01)


def test_inputs_of_a_tanh_are_no_larger_than_one(tmp_path):
    one, many = hidden(tmp_path / "a", 1.0, 100.0), hidden(tmp_path / "b", 50.0, 100.0)
    assert many["saturated_fraction"].tolist() == one["saturated_fraction"].tolist()


def test_steps_without_a_gradient_are_left_out_and_other_chains_are_not_known(tmp_path):
    assert hidden(tmp_path / "a", math.nan, 100.0).empty
    assert hidden(tmp_path / "b", 1.0, 100.0, chain("Linear", "ReLU", "Linear", "Tanh")) is None
    assert hidden(tmp_path / "c", 1.0, 100.0, chain("Tanh", "Linear", "Linear", "Tanh")) is None
    assert len(hidden(tmp_path / "d", 1.0, 100.0, chain("Linear", "Tanh", "Linear", "Dropout", "Tanh"))) == 3
