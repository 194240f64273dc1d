import numpy
import pytest

from gradaudit.schema import ModuleFacts
from gradaudit.signals.activations.saturation import bounded_activations, makes_output, sampled_saturation
from gradaudit.signals.layers.initialisation import glorot_start
from tests.build import build_run
from tests.diagnosers.runs import activation, falling
from tests.diagnosers.sick_layers import TANH

SHARES = numpy.random.default_rng(0).random(20).round(3)


def run_of(path, **changes):
    samples = [activation(10 * index, float(share), 2) for index, share in enumerate(SHARES)]
    return build_run(path, loss=falling(), **{"samples": samples, "modules": TANH, **changes})


def test_the_shares_are_those_of_the_samples(tmp_path):
    (found,) = sampled_saturation(run_of(tmp_path))
    assert found.module.name == "squash"
    assert found.steps.tolist() == list(range(0, 200, 10))
    assert found.shares == pytest.approx(SHARES, rel=1e-5)
    assert found.first == pytest.approx(SHARES[0], rel=1e-5)
    assert found.early == pytest.approx(numpy.median(SHARES[:10]), rel=1e-5)
    assert found.last == pytest.approx(numpy.median(SHARES[-5:]), rel=1e-5)
    assert not found.ends, "layers.1 comes behind it"


def test_four_samples_are_too_few(tmp_path):
    samples = [activation(step, 0.5, 2) for step in range(0, 40, 10)]
    assert sampled_saturation(run_of(tmp_path, samples=samples)) == []


def test_what_no_layer_follows_makes_the_output(tmp_path):
    modules = [*TANH, ModuleFacts(id=4, name="last", module_class="Sigmoid")]
    run = run_of(tmp_path, modules=modules)
    assert [(module.name, makes_output(run, module)) for module in bounded_activations(run)] == [
        ("squash", False),
        ("last", True),
    ]


def test_the_weight_before_an_activation_is_held_against_glorots(tmp_path):
    """32 inputs, 32 outputs, elements of 0.5."""
    run = run_of(tmp_path, stats={"weight_norm": 0.5 * 32})
    start = glorot_start(run, TANH[2])
    assert start.tensor.name == "layers.0.weight"
    assert start.rms == pytest.approx(0.5)
    assert start.usual == pytest.approx(5 / 3 * numpy.sqrt(2 / 64))
    assert start.times == pytest.approx(0.5 / (5 / 3 * numpy.sqrt(2 / 64)))
    assert start.too_large
    assert glorot_start(run, TANH[0]) is None
