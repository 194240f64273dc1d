"""Embeddings that an objective compares, in real small trainings; quiet cases first."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gradaudit.diagnosers.representation_collapse import Collapsed, representation_collapse
from tests.diagnosers.verbs import assert_clean, assert_not_applicable, judged
from tests.record.training import recorded, run_of


def network(outputs=16):
    return nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, outputs))


def steps_of(folder, objective, steps=60, rows=32, model=None, rate=0.05):
    torch.manual_seed(0)
    model = model or network()
    data = torch.randn(256, 12)
    with recorded(folder):
        optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
        for _ in range(steps):
            loss = objective(model, data[torch.randperm(256)[:rows]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    run = run_of(folder)
    assert run.meta.disabled == []
    return run


def noisy(x):
    return x + 0.1 * torch.randn_like(x)


def classifier(model, x):
    return functional.cross_entropy(model(x), x.argmax(1))


def regression(model, x):
    return functional.mse_loss(model(x), torch.ones(len(x), 16))


def error_length(model, x):
    """A regression whose error is a distance."""
    return functional.pairwise_distance(model(x), 0.01 * x[:, :1].expand(-1, 16)).mean()


def pooled(model, x):
    """The last operation is attention: what it weighs is compared with nothing."""
    weights = functional.softmax(model(x) @ torch.ones(16, 1), 0)
    return functional.mse_loss(weights.T.expand(32, -1) @ model(x), torch.ones(len(x), 16))


def score(model, x):
    """As a critic: one number for each example."""
    return functional.softplus(model(x).mean(1)).mean()


def penalised(model, x):
    """A norm of the weights compares no embeddings."""
    return classifier(model, x) + 1e-3 * sum(p.norm() for p in model.parameters())


class Scaled(nn.Module):
    """A layer without a bias whose weight is computed, behind another one: as in a KAN, or with a weight norm."""

    def __init__(self):
        super().__init__()
        self.first, self.weight = nn.Linear(12, 16, bias=False), nn.Parameter(0.3 * torch.randn(16, 16))
        self.scale = nn.Parameter(torch.ones(16, 1))

    def forward(self, x):
        return functional.linear(functional.silu(self.first(x)), self.scale * self.weight)


class Neighbours(nn.Module):
    """A graph convolution: a constant matrix mixes what a layer says of the nodes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 16, bias=False)

    def forward(self, x):
        return torch.full((len(x), len(x)), 1 / len(x)) @ self.layer(x)


@pytest.mark.parametrize("model", [Scaled, Neighbours])
def test_products_with_weights_and_with_neighbours_are_not_looked_at(tmp_path, model):
    run = steps_of(tmp_path / "run", classifier, model=model())
    assert_not_applicable(representation_collapse, run)


def test_products_of_embeddings_are_looked_at_on_both_sides(tmp_path):
    def retrieval(model, x):
        return functional.cross_entropy(model(noisy(x)) @ model(noisy(x)).T, torch.arange(len(x)))

    run = steps_of(tmp_path / "run", retrieval, model=nn.Linear(12, 16), rate=0.01)
    assert [facts.compared for facts in run.meta.graph.embeddings] == ["product"]

    def correlation(model, x):
        return (model(noisy(x)).T @ model(noisy(x)) / len(x) - torch.eye(16)).square().sum()

    run = steps_of(tmp_path / "batch", correlation, model=nn.Linear(12, 16), rate=1e-3)
    assert [facts.compared for facts in run.meta.graph.embeddings] == ["product"]


@pytest.mark.parametrize("objective", [classifier, regression, error_length, pooled, score, penalised])
def test_objectives_that_compare_nothing_are_not_looked_at(tmp_path, objective):
    assert_not_applicable(representation_collapse, steps_of(tmp_path / "run", objective))


def test_a_batch_of_few_is_not_looked_at(tmp_path):
    run = steps_of(tmp_path / "run", lambda model, x: agreement(model, x), rows=4)
    assert_not_applicable(representation_collapse, run)


def agreement(model, x):
    return -functional.cosine_similarity(model(noisy(x)), model(noisy(x))).mean()


def contrast(model, x):
    one, other = functional.normalize(model(noisy(x))), functional.normalize(model(noisy(x)))
    return functional.cross_entropy(one @ other.T / 0.2, torch.arange(len(x)))


def apart(model, x):
    """Distances that should be those of the inputs."""
    return functional.mse_loss(torch.cdist(model(x), model(x)), torch.cdist(x, x))


def triplets(model, x):
    return functional.triplet_margin_loss(model(x), model(noisy(x)), model(x.roll(1, 0)))


@pytest.mark.parametrize(
    ("objective", "compared"),
    [(contrast, "cosine"), (apart, "distance"), (triplets, "distance")],
)
def test_embeddings_that_are_pushed_apart_are_quiet(tmp_path, objective, compared):
    run = steps_of(tmp_path / "run", objective)
    (facts,) = run.meta.graph.embeddings
    assert (facts.compared, facts.rows) == (compared, 32)
    assert facts.looks[-1].step >= 54
    assert_clean(representation_collapse, run)


def test_the_numbers_are_those_of_the_embeddings(tmp_path):
    seen = []

    def objective(model, x):
        one = model(x)
        seen.append(one.detach())
        return -functional.cosine_similarity(one, model(noisy(x))).mean()

    run = steps_of(tmp_path / "run", objective, rows=24)
    (facts,) = run.meta.graph.embeddings
    assert run.meta.tensors[facts.tensor].name == "3.weight"
    directions = functional.normalize(seen[0])
    tolerance = 0.2  # the other view may have been looked at
    assert facts.looks[0].directions == pytest.approx(float(directions.std(0).mean() * 4), rel=tolerance)
    assert facts.looks[0].std == pytest.approx(float(seen[0].var(0).mean().sqrt()), rel=tolerance)


def test_two_sides_that_agree_on_a_constant_are_told(tmp_path):
    def objective(model, x):
        one, other = (model(x + 3 * torch.randn(len(x), 1)) for _ in range(2))
        return -functional.cosine_similarity(one, other).mean()

    model = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16))
    run = steps_of(tmp_path / "run", objective, steps=200, model=model)
    found = judged(representation_collapse, run, Collapsed)
    assert (found.layer, found.compared) == ("2", "cosine")
    assert found.end < 0.1 < found.start


def test_checkpoints_are_left_alone(tmp_path):
    calls = []

    def part(model, x):
        calls.append(1)
        return model(x)

    def objective(model, x):
        x = x.clone().requires_grad_()
        out = checkpoint(part, model, x, use_reentrant=False)
        return -functional.cosine_similarity(out, out.roll(1, 0)).mean()

    run = steps_of(tmp_path / "run", objective, steps=5, model=nn.Linear(12, 16))
    assert len(calls) == 10
    assert run.meta.graph.embeddings == []
