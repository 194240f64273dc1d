"""What torch's Adam and RMSprop keep of squared gradients, against their own state."""

import math

import numpy
import pytest
import torch

from gradaudit.signals.updates.adam_memory import eps_of, remembered
from tests.build import build_run
from tests.diagnosers.runs import falling, parameters

STEPS = 30


def kept_by(optimizer, gradients, **options):
    """[steps]: root of what it keeps of a 32 x 32 tensor, mean over the elements, corrected for its start."""
    parameter = torch.nn.Parameter(torch.zeros(32, 32))
    made, found = getattr(torch.optim, optimizer)([parameter], **options), []
    for step, gradient in enumerate(gradients, 1):
        parameter.grad = gradient
        made.step()
        state = made.state[parameter]
        if optimizer == "RMSprop":
            found.append(state["square_avg"].mean() / (1 - options.get("alpha", 0.99) ** step))
        else:
            found.append(state["exp_avg_sq"].mean() / (1 - options.get("betas", (0.9, 0.999))[1] ** step))
    return numpy.sqrt(numpy.asarray([float(square) for square in found]))


@pytest.fixture
def gradients():
    random = torch.Generator().manual_seed(0)
    return [torch.randn(32, 32, generator=random) * 10 ** (step / STEPS) for step in range(STEPS)]


def of(path, gradients, optimizer="Adam", recorded=None, defaults=None, **stats):
    norms = numpy.asarray([[float(gradient.norm())] for gradient in gradients])
    norms = norms if recorded is None else norms[list(recorded)]
    return build_run(
        path, loss=falling(STEPS), tensors=parameters(1), stats={"gradient_norm": norms, **stats}, optimizer=optimizer,
        defaults=defaults or {}, recorded=recorded, steps={"clip_kind": 0},
    ).trainings[0]  # fmt: skip


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [("Adam", {}), ("AdamW", {"betas": (0.9, 0.95)}), ("RMSprop", {}), ("RMSprop", {"alpha": 0.9})],
)
def test_it_is_torchs_own_state(tmp_path, gradients, optimizer, options):
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    found = remembered(of(tmp_path / "a", gradients, optimizer, defaults=defaults))
    numpy.testing.assert_allclose(found[:, 0], kept_by(optimizer, gradients, **options), rtol=1e-4)


def test_a_step_between_two_recorded_ones_has_the_gradient_of_the_later(tmp_path, gradients):
    recorded = [0, 4, 9, 29]
    filled = [gradients[next(at for at in recorded if at >= step)] for step in range(STEPS)]
    found = remembered(of(tmp_path / "a", gradients, recorded=recorded))
    numpy.testing.assert_allclose(found[:, 0], kept_by("Adam", filled)[recorded], rtol=1e-4)


def test_a_step_without_a_gradient_or_with_nan_changes_nothing(tmp_path, gradients):
    seen = [gradient for step, gradient in enumerate(gradients) if step % 2 == 0]
    expected = numpy.repeat(kept_by("Adam", seen), 2)
    norms = numpy.asarray([[float(gradient.norm())] for gradient in gradients])
    norms[1::2] = math.nan
    found = remembered(of(tmp_path / "a", gradients, gradient_norm=norms))
    numpy.testing.assert_allclose(found[:, 0], expected, rtol=1e-4)
    broken = numpy.arange(STEPS)[:, None] % 2
    found = remembered(of(tmp_path / "b", gradients, gradient_nan=broken))
    numpy.testing.assert_allclose(found[:, 0], expected, rtol=1e-4)


def test_before_its_first_gradient_nothing_is_remembered(tmp_path, gradients):
    norms = numpy.asarray([[float(gradient.norm())] for gradient in gradients])
    norms[:10] = math.nan
    found = remembered(of(tmp_path / "a", gradients, gradient_norm=norms))[:, 0]
    assert numpy.isnan(found[:10]).all()
    numpy.testing.assert_allclose(found[10:], kept_by("Adam", gradients[10:]), rtol=1e-4)


@pytest.mark.parametrize("times", [1e-6, 1e6])
def test_the_scale_of_the_loss_is_that_of_the_memory(tmp_path, gradients, times):
    one = remembered(of(tmp_path / "a", gradients))
    numpy.testing.assert_allclose(
        remembered(of(tmp_path / "b", [times * g for g in gradients])), times * one, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("optimizer", "defaults", "eps"),
    [("Adam", {"eps": 1e-8}, 1e-8), ("RMSprop", {"eps": 1e-7}, 1e-7), ("Adadelta", {"eps": 1e-6}, 0),
     ("Adagrad", {"eps": 1e-10}, 0), ("Adam", {"eps": 0.0}, 0), ("Adam", {}, 0), ("SGD", {"eps": 1.0}, 0),
     ("RMSprop", {"eps": None}, 0), ("Adam", {"eps": -1.0}, 0)],
)  # fmt: skip
def test_eps_is_that_of_optimizers_that_add_it_to_the_root(tmp_path, gradients, optimizer, defaults, eps):
    assert eps_of(of(tmp_path / "a", gradients, optimizer, defaults=defaults)) == eps
