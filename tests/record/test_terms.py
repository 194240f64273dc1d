"""Which terms an objective has, and which parameters each reaches."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record.observe import graph
from gradaudit.record.observe.graph import terms, walk
from tests.record.training import recorded, run_of


def actor_and_critic(folder, loss_of, steps=3):
    """The terms that reach each tensor of a model with two branches."""
    with recorded(folder):
        torch.manual_seed(0)
        model = nn.ModuleDict({"trunk": nn.Linear(4, 8), "actor": nn.Linear(8, 3), "critic": nn.Linear(8, 1)})
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            for loss in loss_of(model, torch.randn(16, 4)):
                loss.backward(retain_graph=True)
            optimizer.step()
    return {tensor.name: set(tensor.terms) for tensor in run_of(folder).meta.tensors}


def losses(model, x):
    hidden = model["trunk"](x)
    policy = -functional.log_softmax(model["actor"](hidden), 1)[:, 0].mean()
    return policy, functional.mse_loss(model["critic"](hidden).squeeze(1), x[:, 0])


def test_heads_of_different_losses_share_no_term(tmp_path):
    found = actor_and_critic(tmp_path / "run", lambda model, x: [(lambda a, b: a + 0.5 * b)(*losses(model, x))])
    assert not found["actor.weight"] & found["critic.weight"]
    assert found["trunk.weight"] == found["actor.weight"] | found["critic.weight"]
    assert len(found["trunk.weight"]) == 2


def test_losses_with_a_backward_each_are_terms_too(tmp_path):
    found = actor_and_critic(tmp_path / "run", losses)
    assert not found["actor.weight"] & found["critic.weight"]
    assert len(found["trunk.weight"]) == 2


def test_one_loss_needs_no_terms(tmp_path):
    found = actor_and_critic(tmp_path / "run", lambda model, x: losses(model, x)[1:])
    assert set(map(tuple, found.values())) == {()}


def test_penalties_on_single_tensors_are_no_terms(tmp_path):
    def loss_of(model, x):
        return [losses(model, x)[1] + sum(p.square().sum() for p in model.parameters())]

    assert set(map(tuple, actor_and_critic(tmp_path / "run", loss_of).values())) == {()}


def test_factors_and_lists_are_taken_apart():
    a, b, c = (nn.Parameter(torch.ones(2)) for _ in range(3))
    one, two, three = a.square().sum(), b.exp().mean(), c.abs().sum()
    names = {"SumBackward0", "MeanBackward0"}
    for root in (one + two / 3 - 2 * three, torch.stack([one, two, three]).mean(), sum([one, two, three])):
        found = terms.terms_of(root.grad_fn).terms
        assert len(found) == 3
        assert {term.node.name() for term in found} == names
    # A factor that learns is part of its term.
    assert len(terms.terms_of((one * two).grad_fn).terms) == 1
    assert len(terms.terms_of(sum(p.sum() for p in [a] * 40).grad_fn).terms) == 1


A, B = (nn.Parameter(torch.tensor(2.0)) for _ in range(2))


@pytest.mark.parametrize(
    ("objective", "factors", "constants"),
    [
        (lambda a, b: a + b, [1, 1], []),
        (lambda a, b: (a + 0.5 * b) / 4 - 3 * a, [-3, 0.125, 0.25], []),
        (lambda a, b: -(a - torch.tensor(0.3) * b), [-1, 0.3], []),
        (lambda a, b: torch.add(a, b, alpha=0.3), [0.3, 1], []),
        (lambda a, b: torch.stack([a, b]).mean(), [0.5, 0.5], []),
        (lambda a, b: torch.cat([a[None], b[None]]).sum() / 2, [0.5, 0.5], []),
        (lambda a, b: 1 - 2 * a, [-2], []),
        (lambda a, b: torch.tensor(1.0) - 2 * a, [-2], [1]),
        (lambda a, b: 2 * (a + torch.tensor(3.0)), [2], [2]),
        (lambda a, b: sum([a, b]), [1, 1], [1]),  # begins with 0
        (lambda a, b: a + b.detach() * 2, [1], [1]),
        (lambda a, b: a - b.detach(), [1], [-1]),
        (lambda a, b: torch.stack([a, b.detach()]).sum(), [1], [1]),
        (lambda a, b: torch.tensor(3.0) / a, [1], []),  # no product with 3
        (lambda a, b: a * torch.ones(1, 2).mean(), [1], []),
        (lambda a, b: a * float("inf"), [None], []),
    ],
)
def test_constant_factors_and_summands_are_told(objective, factors, constants):
    found = terms.terms_of(objective(A.exp(), B.exp()).grad_fn)
    told = sorted([term.factor for term in found.terms], key=lambda one: (one is None, one))
    assert told == pytest.approx(factors) if None not in factors else told == factors
    assert found.constants == constants


def test_the_factor_of_a_scaler_is_left_out():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    root = scaler.scale(A.exp() / 4)
    assert [term.factor for term in terms.terms_of(root.grad_fn, scaled=True).terms] == [0.25]
    assert [term.factor for term in terms.terms_of(root.grad_fn).terms] == [2.0]


def test_what_somebody_packed_is_not_unpacked():
    calls = []

    def unpack(saved):
        calls.append(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        root = A.exp() * torch.ones(1).exp().sum()
    (term,) = terms.terms_of(root.grad_fn).terms
    assert term.factor is None
    assert not calls


@pytest.mark.parametrize("count", [3, 60])
def test_the_losses_of_an_episode_are_two_terms(tmp_path, count):
    """As of torch's example of an actor and a critic: two lists of as many losses as the episode has steps."""

    def loss_of(model, x):
        policy, value = zip(*(losses(model, x) for _ in range(count)), strict=True)
        return [torch.stack(policy).sum() + torch.stack(value).sum()]

    found = actor_and_critic(tmp_path / "run", loss_of)
    assert not found["actor.weight"] & found["critic.weight"]
    assert found["trunk.weight"] == found["actor.weight"] | found["critic.weight"]


def test_a_graph_that_is_too_large_is_not_told(tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "MOST_NODES", 3)
    found = actor_and_critic(tmp_path / "run", lambda model, x: [sum(losses(model, x))])
    assert set(map(tuple, found.values())) == {()}


def test_graphs_that_differ_from_step_to_step_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(terms, "_MOST_TERMS", 2)
    steps = iter(range(100))

    def loss_of(model, x):
        layer = list(model.values())[next(steps) % 3]
        return [layer.weight.sum() * layer.bias.sum()]

    assert set(map(tuple, actor_and_critic(tmp_path / "run", loss_of, steps=6).values())) == {()}


def test_few_of_many_backward_passes_are_looked_at():
    book = graph.Graph(None)
    due = [step for step in range(1000) if book._due(step, 8)]
    assert due[:13] == [*range(11), 16, 17]
    assert due[-3:] == [512, 513, 514]
    # Another size of batches is looked at, once; and no more than a few micro-steps of one step.
    assert book._due(999, 3)
    assert not book._due(999, 3)
    assert sum(book._due(2**20, 8) for _ in range(100)) == 8
