"""Which tensors may be compared, against torch's own modules and counts by hand."""

import math

import numpy
import pytest
from torch import nn

from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.layers import comparable_layers, dense, embeddings, weight_layers, zero_initialised
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling, parameters
from tests.signals.two_optimizers import two_optimizers

NAN, INF = math.nan, math.inf


def tensor(index, module_class, shape, role="weight", **more):
    return TensorFacts(
        id=index, name=more.pop("name", f"t{index}"), role=role, module_class=module_class, shape=list(shape),
        depth=index, **{"optimizer": 0, **more},
    )  # fmt: skip


def of(path, tensors, **stats):
    return build_run(path, loss=falling(100), tensors=tensors, stats=stats).trainings[0]


def test_of_torchs_modules_the_matrices_that_mix_inputs(tmp_path):
    modules = [
        nn.Linear(3, 4), nn.Conv1d(2, 3, 3), nn.Conv2d(2, 3, 3), nn.ConvTranspose2d(2, 3, 3), nn.RNN(3, 4),
        nn.LSTM(3, 4), nn.GRU(3, 4), nn.MultiheadAttention(4, 2), nn.BatchNorm2d(3), nn.LayerNorm((2, 3)), nn.PReLU(4),
        nn.Embedding(9, 4), nn.Bilinear(2, 3, 4),
    ]  # fmt: skip
    named = [(m, name, p) for m in modules for name, p in m.named_parameters(recurse=False)]
    roles = {"Embedding": "embedding", "LayerNorm": "norm", "BatchNorm2d": "norm"}
    tensors = [
        tensor(
            i, type(m).__name__, p.shape, roles.get(type(m).__name__, "weight" if p.dim() > 1 else "bias"), name=name
        )
        for i, (m, name, p) in enumerate(named)
    ]
    training = of(tmp_path / "a", tensors)
    mixing = [p.dim() > 1 and not isinstance(m, nn.Embedding | nn.LayerNorm | nn.Bilinear) for m, _, p in named]
    assert weight_layers(training).tolist() == mixing
    assert embeddings(training).tolist() == [isinstance(m, nn.Embedding) for m, _, _ in named]


def test_what_is_not_trained_or_is_one_number_is_no_layer(tmp_path):
    tensors = [
        tensor(0, "Linear", [4, 4]),
        tensor(1, "Linear", [4, 4], requires_grad=False),
        tensor(2, "Linear", [4, 4], optimizer=-1),
        tensor(3, "Linear", [1, 1]),
        tensor(4, "ParametrizationList", [4, 1], name="p.original0"),
        tensor(5, "ParametrizationList", [4, 4], name="p.original1"),
    ]
    assert numpy.flatnonzero(weight_layers(of(tmp_path / "a", tensors))).tolist() == [0, 5]


def test_a_model_without_known_layers_is_taken_by_its_matrices(tmp_path):
    own = [tensor(0, "MyLayer", [4, 4]), tensor(1, "MyLayer", [4], role="bias")]
    assert weight_layers(of(tmp_path / "a", own)).tolist() == [True, False]


@pytest.mark.parametrize("value", [0.0, NAN])
@pytest.mark.parametrize(("share", "found"), [(0.80, False), (0.81, True)])
def test_dense_is_more_than_four_of_five_steps(tmp_path, value, share, found):
    norms = numpy.where(numpy.arange(100) < 100 * share, 0.1, value)[:, None]
    assert dense(of(tmp_path / "a", parameters(1), gradient_norm=norms)).tolist() == [found]


def test_a_gradient_that_is_not_finite_is_one(tmp_path):
    broken = numpy.where(numpy.arange(100) < 50, 1, 0)[:, None]
    norms = numpy.where(broken, 0.0, 0.1)
    assert dense(of(tmp_path / "a", parameters(1), gradient_norm=norms, gradient_nan=broken)).all()


@pytest.mark.parametrize(("rms", "zero"), [(0.0, True), (0.9e-6, True), (1.1e-6, False), (INF, False)])
def test_a_start_at_zero_is_one_per_element(tmp_path, rms, zero):
    assert zero_initialised(of(tmp_path / "a", parameters(1), weight_norm=32 * rms)).tolist() == [zero]


def test_a_tensor_that_appears_late_starts_there(tmp_path):
    norms = numpy.ones((100, 3))
    norms[:40], norms[40, 1], norms[:, 2] = NAN, 0.0, NAN
    assert zero_initialised(of(tmp_path / "a", parameters(3), weight_norm=norms)).tolist() == [False, True, False]


def test_those_that_may_be_compared_are_all_of_it(tmp_path):
    gradient, weight = numpy.full((100, 8), 0.1), numpy.ones((100, 8))
    gradient[::2, 0], weight[:, 2] = 0, 0
    training = of(tmp_path / "a", linear_stack(), gradient_norm=gradient, weight_norm=weight)
    assert numpy.flatnonzero(comparable_layers(training)).tolist() == [4, 6]


def test_each_training_has_its_own_tensors(tmp_path):
    run = two_optimizers(tmp_path / "a", falling(9), falling(9), stats={"weight_norm": [[0.0, 1.0, 1.0, 1.0]]})
    assert [zero_initialised(training).tolist() for training in run.trainings] == [[True, False], [False, False]]
    assert [weight_layers(training).tolist() for training in run.trainings] == [[True, False], [True, False]]
