"""Cosines of successive gradients and what is left of the weights, against torch and numpy."""

import math

import msgspec
import numpy
import pytest
import torch
from torch import nn

from gradaudit.signals.gradients.successive import EARLY, bias_cosine, successive_gradients
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import falling
from tests.record.training import recorded, run_of

NAN, INF = math.nan, math.inf
STEPS = 100
RANDOM = numpy.random.default_rng(0)
COSINES = RANDOM.uniform(-1, 1, (STEPS, 4))


def of(path, cosines=COSINES, norms=1.0, recorded=None, length=STEPS, **changes):
    kept = list(range(length) if recorded is None else recorded)
    cosines = numpy.broadcast_to(cosines, (STEPS, 4))[kept]
    norms = numpy.asarray(norms, dtype=float)
    norms = norms[kept] if norms.ndim == 2 else norms
    settings = {"tensors": linear_stack(2), "optimizer": "SGD", **changes}
    stats = {"gradient_cosine": cosines, "weight_norm": norms, **settings.pop("stats", {})}
    return build_run(path, loss=falling(length), stats=stats, recorded=recorded, **settings).trainings[0]


def test_cosines_are_those_of_the_gradients_of_torch(tmp_path):
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16)), torch.randn(64, 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    gradients, norms = [], []
    with recorded(tmp_path / "run"):
        for _ in range(12):
            optimizer.zero_grad()
            model(inputs + 2 * torch.randn(64, 16)).square().mean().backward()
            gradients.append([p.grad.flatten().clone() for p in model.parameters()])
            norms.append([float(p.detach().norm()) for p in model.parameters()])  # as they are before the step
            optimizer.step()
    found = successive_gradients(run_of(tmp_path / "run").trainings[0])
    expected = [
        numpy.median(
            [abs(float(torch.cosine_similarity(gradients[step][i], gradients[step - 1][i], dim=0)))
             for step in range(EARLY[0], 12)]
        )
        for i in range(4)
    ]  # fmt: skip
    assert found.pairs == 12 - EARLY[0]
    numpy.testing.assert_allclose(found.cosines, expected, rtol=1e-3)
    numpy.testing.assert_allclose(found.bias_cosines, [expected[1], 0, expected[3], 0], rtol=1e-3)
    assert found.left == pytest.approx(numpy.divide(norms[-1], norms[0]), rel=1e-5)
    assert found.held == pytest.approx(found.left)
    assert found.judged.tolist() == found.comparable.tolist() == [True, False, True, False]


def test_the_early_window_counts_by_its_medians_of_sizes(tmp_path):
    found = successive_gradients(of(tmp_path / "a"))
    assert found.pairs == EARLY[1] - EARLY[0] + 1
    numpy.testing.assert_allclose(found.cosines, numpy.median(numpy.abs(COSINES[2:61]), axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("kept", "pairs"),
    [(range(STEPS), 59), (range(0, STEPS, 2), 0), ([0, 1, 2, 3, 9, 10, 30, 70, 71], 3), ([2, 3], 1), ([5], 0)],
)
def test_only_steps_that_follow_each_other_are_pairs(tmp_path, kept, pairs):
    found = successive_gradients(of(tmp_path / "a", recorded=kept))
    rows = [step for step in kept if step - 1 in kept and EARLY[0] <= step <= EARLY[1]]
    assert found.pairs == len(rows) == pairs
    expected = numpy.median(numpy.abs(COSINES[rows]), axis=0) if rows else numpy.full(4, NAN)
    numpy.testing.assert_allclose(found.cosines, expected, rtol=1e-6)


def test_a_run_of_one_step_has_no_pairs(tmp_path):
    found = successive_gradients(of(tmp_path / "a", length=1))
    assert (found.pairs, found.left.tolist()) == (0, [1, 1, 1, 1])
    assert numpy.isnan(found.cosines).all()
    assert found.bias_cosines.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("value", [NAN, INF])
def test_unknown_cosines_are_left_out(tmp_path, value):
    """Those of a layer that is trained from step 50 on, and never those of another."""
    cosines = numpy.full((STEPS, 4), 0.3)
    cosines[:50, 0], cosines[50:, 0] = value, -0.9
    cosines[:, 1] = value
    found = successive_gradients(of(tmp_path / "a", cosines))
    assert found.cosines == pytest.approx([0.9, NAN, 0.3, 0.3], nan_ok=True)
    assert found.bias_cosines == pytest.approx([0, 0, 0.3, 0])


def test_left_is_the_last_norm_over_the_first_that_is_known(tmp_path):
    norms = numpy.linspace([2.0, 2, 2, 0], [1.0, 1, 5, 1], STEPS)
    norms[:50, 1], norms[-1, 2] = NAN, NAN
    found = successive_gradients(of(tmp_path / "a", norms=norms))
    assert found.left == pytest.approx([0.5, 1 / norms[50, 1], NAN, NAN], nan_ok=True)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_held_is_what_an_idle_weight_would_have_left_over(tmp_path, momentum):
    """torch's own decay of a weight without a gradient is given back."""
    weight, norms = nn.Parameter(torch.ones(1, dtype=torch.float64)), []
    optimizer = torch.optim.SGD([weight], lr=0.01, weight_decay=0.02, momentum=momentum)
    weight.grad = torch.zeros_like(weight)
    for _ in range(STEPS):
        norms.append(float(weight.detach()))
        optimizer.step()
    changes = {"steps": {"learning_rate": [[0.01]] * STEPS, "weight_decay": [[0.02]] * STEPS},
               "defaults": {"momentum": momentum, "dampening": 0.0}}  # fmt: skip
    found = successive_gradients(of(tmp_path / "a", norms=numpy.column_stack([norms] * 4), **changes))
    assert found.left == pytest.approx([norms[-1]] * 4)
    assert found.held == pytest.approx([1.0] * 4, abs=0.02)


def test_where_the_decay_took_all_there_is_nothing_to_judge_and_no_infinity(tmp_path):
    changes = {"steps": {"learning_rate": [[10.0]] * STEPS, "weight_decay": [[5.0]] * STEPS}}
    found = successive_gradients(of(tmp_path / "a", **changes))
    assert found.held == pytest.approx([math.exp(50)] * 4)


def test_small_weights_and_an_unknown_decay_are_not_judged(tmp_path):
    tensors = linear_stack(2)
    tensors[0] = msgspec.structs.replace(tensors[0], shape=[9, 11])
    found = successive_gradients(of(tmp_path / "a", tensors=tensors))
    assert (found.comparable.tolist(), found.judged.tolist()) == ([True, False] * 2, [False, False, True, False])
    tensors[0] = msgspec.structs.replace(tensors[0], shape=[10, 10])
    assert successive_gradients(of(tmp_path / "b", tensors=tensors)).judged[0]
    decay = {"steps": {"weight_decay": [[0.1]] * STEPS}, "optimizer": "Adam"}
    adam = successive_gradients(of(tmp_path / "c", **decay))
    assert not adam.judged.any()
    assert numpy.isnan(adam.held).all()


def test_a_group_of_its_own_and_none_at_all(tmp_path):
    tensors = [msgspec.structs.replace(t, group=g) for t, g in zip(linear_stack(2), (0, 1, -1, 7), strict=True)]
    decay = {"learning_rate": [[0.1, 0.1]] * STEPS, "weight_decay": [[0.1, 0.0]] * STEPS}
    found = successive_gradients(of(tmp_path / "a", tensors=tensors, steps=decay))
    assert found.held == pytest.approx([math.exp(0.1 * 0.1 * STEPS), 1, 1, 1])


@pytest.mark.parametrize(("elements", "counts"), [(8, True), (7, False)])
def test_a_bias_beside_a_weight_counts_with_enough_elements(tmp_path, elements, counts):
    tensors = linear_stack(2)
    tensors[1] = msgspec.structs.replace(tensors[1], shape=[elements])
    training = of(tmp_path / "a", [0.1, -0.7, 0.2, 0.4], tensors=tensors)
    found = successive_gradients(training)
    assert found.bias_cosines == pytest.approx([0.7 if counts else 0.0, 0, 0.4, 0])
    beside = bias_cosine(training, found.cosines, 0)
    assert beside == pytest.approx(0.7 if counts else NAN, nan_ok=True)
    assert bias_cosine(training, found.cosines, 2) == pytest.approx(0.4)


def test_a_weight_without_a_bias_has_none_beside_it(tmp_path):
    tensors = linear_stack(2)
    tensors[1] = msgspec.structs.replace(tensors[1], module="elsewhere")
    training = of(tmp_path / "a", 0.5, tensors=tensors)
    found = successive_gradients(training)
    assert found.bias_cosines == pytest.approx([0, 0, 0.5, 0])
    assert math.isnan(bias_cosine(training, found.cosines, 0))


def test_of_two_biases_of_a_module_the_first_counts_everywhere(tmp_path):
    tensors = linear_stack(2)
    tensors[3] = msgspec.structs.replace(tensors[3], module=tensors[0].module)
    training = of(tmp_path / "a", [0.1, 0.7, 0.2, 0.4], tensors=tensors)
    found = successive_gradients(training)
    assert found.bias_cosines == pytest.approx([0.7, 0, 0, 0])
    assert bias_cosine(training, found.cosines, 0) == pytest.approx(0.7)
