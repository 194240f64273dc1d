"""Constants among the summands of an objective, in real small trainings; quiet cases first."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.diagnosers.detached_loss import Constant, detached_loss
from tests.diagnosers.verbs import assert_clean, judged
from tests.record.training import recorded, run_of

LABELS = torch.arange(16) % 3
TEACHER = nn.Linear(4, 3).requires_grad_(False)


def steps_of(folder, objective, steps=12, backward=torch.Tensor.backward):
    """Train a small model on what `objective(model, x)` gives."""
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    with recorded(folder):
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(steps):
            loss = objective(model, torch.randn(16, 4))
            optimizer.zero_grad()
            backward(loss)
            optimizer.step()
    run = run_of(folder)
    assert run.meta.disabled == []
    return run


def cross_entropy(model, x):
    return functional.cross_entropy(model(x), LABELS)


def divergence(of, x, times=4.0):
    return times * functional.kl_div(of(x).log_softmax(1), TEACHER(x).softmax(1), reduction="batchmean")


def added_up(model, x):
    """Losses added up from 0, and a metric that is only printed."""
    functional.mse_loss(model(x).detach(), torch.zeros(16, 3))
    return sum([cross_entropy(model, x), 0.1 * divergence(model, x)])


def small_number(model, x):
    functional.mse_loss(x, torch.zeros(16, 4))
    return cross_entropy(model, x) + 1e-8


def normaliser(model, x):
    return functional.mse_loss(model(x)[:, 0], x[:, 0]) + 0.5 * torch.log(torch.tensor(6.28))


def without_the_entropy(model, x):
    """A divergence from soft labels, written as a cross entropy less their entropy."""
    soft = TEACHER(x).softmax(1)
    entropy = functional.cross_entropy(TEACHER(x), soft)
    return functional.cross_entropy(model(x), soft) - entropy


def one_side_each(model, x):
    """As VQ: each side of a distance is detached once."""
    hidden = model(x)
    codes = hidden.detach().round()
    return (
        cross_entropy(model, x) + functional.mse_loss(hidden, codes) + functional.mse_loss(codes, hidden.detach()) * 0
    )


def reference(model, x):
    """As DPO: what a frozen model says is a constant inside of the loss, and no term."""
    chosen = model(x).log_softmax(1)[:, 0] - TEACHER(x).log_softmax(1)[:, 0]
    return -functional.logsigmoid(chosen - chosen.mean().detach()).mean()


def baseline(model, x):
    advantage = x[:, 0] - functional.mse_loss(x[:, 1], x[:, 0]).item()
    return -(model(x).log_softmax(1)[:, 0] * advantage).mean()


def penalty(model, x, graph=True):
    """A penalty on the gradient of the input."""
    mixed = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(mixed).square().sum(), mixed, create_graph=graph)
    return (gradient.norm(dim=1) - 1).square().mean()


def with_penalty(model, x):
    out = model(x)
    total = out[:, 0].mean() - out[:, 1].mean() + penalty(model, x)
    return total + 0


def drawn(model, x):
    """As an energy-based model: samples are drawn by their gradients, and losses are added up from 0."""
    noise = torch.randn(16, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(noise).sum(), noise)
    fake = (noise - gradient).detach()
    return 0.0 + model(x).square().mean() - model(fake).mean()


@pytest.mark.parametrize(
    "objective",
    [added_up, small_number, normaliser, without_the_entropy, one_side_each, reference, baseline, with_penalty, drawn],
)
def test_what_is_meant_is_quiet(tmp_path, objective):
    assert_clean(detached_loss, steps_of(tmp_path / "run", objective))


def test_a_divergence_of_the_teacher_alone_is_told(tmp_path):
    other = nn.Linear(4, 3).requires_grad_(False)
    run = steps_of(tmp_path / "run", lambda model, x: divergence(other, x) + 0.5 * cross_entropy(model, x))
    found = judged(detached_loss, run, Constant).term
    assert (found.function, found.factor) == ("kl_div", pytest.approx(4.0, rel=1e-3))
    (term,) = run.meta.graph.terms
    assert [(one.batch, one.factor) for one in term.factors] == [(16, 0.5)]


def test_a_divergence_of_the_teacher_with_itself_is_told(tmp_path):
    run = steps_of(tmp_path / "run", lambda model, x: cross_entropy(model, x) + divergence(TEACHER, x, 1.0))
    assert judged(detached_loss, run, Constant).term.function == "kl_div"


def test_a_penalty_without_a_graph_is_told_by_its_name(tmp_path):
    def objective(model, x):
        return model(x)[:, 0].mean(), penalty(model, x, graph=False)

    def backward(parts):
        score, gp = parts
        loss = score + 10 * gp
        (loss / 2).backward()

    run = steps_of(tmp_path / "run", objective, backward=backward)
    found = judged(detached_loss, run, Constant).term
    assert (found.variable, found.derived) == ("gp", True)


def test_a_loss_that_a_scaler_multiplies(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    other = nn.Linear(4, 3).requires_grad_(False)
    run = steps_of(
        tmp_path / "run",
        lambda model, x: divergence(other, x) + 0.5 * cross_entropy(model, x),
        backward=lambda loss: scaler.scale(loss).backward(),
    )
    assert judged(detached_loss, run, Constant).term.factor == pytest.approx(4.0, rel=1e-3)
