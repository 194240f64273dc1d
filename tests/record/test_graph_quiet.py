"""Real small trainings that look odd and are meant so: no rule that reads the graph speaks of them."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.audit.runner import examine
from gradaudit.diagnosers.activation_before_loss import activation_before_loss
from gradaudit.diagnosers.broadcast_loss import broadcast_loss
from gradaudit.diagnosers.detached_loss import detached_loss
from gradaudit.diagnosers.growing_graph import growing_graph
from gradaudit.diagnosers.scrambled_axes import scrambled_axes
from tests.record.training import recorded, run_of

RULES = (activation_before_loss, broadcast_loss, detached_loss, growing_graph, scrambled_axes)
STEPS = 24


def adam(*modules):
    return torch.optim.Adam([p for module in modules for p in module.parameters()], 1e-3)


def step(optimizer, loss, **options):
    optimizer.zero_grad()
    loss.backward(**options)
    optimizer.step()


def contrastive():
    """CLIP: both cross entropies of one N x N matrix, and a sigmoid loss over all pairs."""
    image, text = nn.Linear(6, 4), nn.Linear(5, 4)
    optimizer = adam(image, text)

    def train(_):
        one, other = (functional.normalize(m(torch.randn(8, m.in_features)), dim=1) for m in (image, text))
        scores = 10 * one @ other.T
        same = torch.arange(8)
        pairs = -functional.logsigmoid((2 * torch.eye(8) - 1) * scores).mean()
        step(optimizer, functional.cross_entropy(scores, same) + functional.cross_entropy(scores.T, same) + pairs)

    return train


def written_out_contrastive():
    model = nn.Linear(6, 4)
    optimizer = adam(model)

    def train(_):
        z = functional.normalize(model(torch.randn(8, 6)), dim=1)
        step(optimizer, -(functional.log_softmax(5 * z @ z.T, dim=0) * torch.eye(8)).sum() / 8)

    return train


def distances():
    """A kernel's means over all pairs, as of MMD, and a ranking of all with all."""
    model = nn.Linear(6, 1)
    optimizer = adam(model)

    def train(_):
        z, score = model(torch.randn(8, 6)), model(torch.randn(8, 6)).squeeze(1)
        kernel = torch.exp(-((z.unsqueeze(0) - z.unsqueeze(1)) ** 2).sum(2)).mean()
        step(optimizer, kernel + functional.softplus(score[:, None] - score[None, :]).mean())

    return train


def survival():
    """The partial likelihood of Cox: risks times an N x N mask, summed along one axis."""
    model = nn.Linear(6, 1)
    optimizer = adam(model)

    def train(_):
        theta = model(torch.randn(8, 6)).reshape(-1)
        at_risk = torch.triu(torch.ones(8, 8))
        step(optimizer, -((theta - torch.log((theta.exp() * at_risk).sum(1))) * torch.ones(8)).mean())

    return train


def gradient_penalty():
    """WGAN-GP: a backward through a gradient."""
    generator, critic = nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    of_generator, of_critic = adam(generator), adam(critic)

    def train(at):
        fake, real = generator(torch.randn(8, 3)), torch.randn(8, 2)
        between = (0.5 * fake.detach() + 0.5 * real).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty = (gradient.norm(dim=1) - 1).square().mean()
        step(of_critic, critic(fake.detach()).mean() - critic(real).mean() + 10 * penalty)
        if at % 3 == 0:
            step(of_generator, -critic(generator(torch.randn(8, 3))).mean())

    return train


def momentum_teacher():
    """BYOL: a teacher that follows by an average, and no gradient on its side."""
    student, predictor = nn.Linear(4, 4), nn.Linear(4, 4)
    teacher = copy.deepcopy(student)
    optimizer = adam(student, predictor)

    def train(_):
        x = torch.randn(8, 4)
        with torch.no_grad():
            target = teacher(x)
        step(optimizer, -functional.cosine_similarity(predictor(student(x)), target).mean())
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 0.01)

    return train


def frozen_backbone():
    backbone, head, auxiliary = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 3)
    optimizer = adam(head, auxiliary)

    def train(_):
        hidden, y = backbone(torch.randn(8, 4)), torch.randint(3, (8,))
        step(optimizer, functional.cross_entropy(head(hidden), y) + functional.cross_entropy(auxiliary(hidden), y))

    return train


def soft_actor_critic():
    actor, critic, temperature = nn.Linear(4, 2), nn.Linear(6, 1), nn.Parameter(torch.zeros(1))
    of_actor, of_critic, of_temperature = adam(actor), adam(critic), torch.optim.Adam([temperature], 1e-3)

    def train(_):
        state = torch.randn(8, 4)
        q = critic(torch.cat([state, torch.randn(8, 2)], 1))
        step(of_critic, functional.mse_loss(q, torch.randn(8, 1)))
        action = torch.tanh(actor(state))
        step(of_actor, -critic(torch.cat([state, action], 1)).mean() + 0.1 * action.square().mean())
        step(of_temperature, (temperature.exp() * (1.0 - action.detach().square().mean())).sum())

    return train


def language_model(kind, batch_first):
    def make():
        words, cell, head = nn.Embedding(11, 6), kind(6, 7, batch_first=batch_first), nn.Linear(7, 11)
        optimizer = adam(words, cell, head)

        def train(_):
            ids = torch.randint(11, (5, 9))
            out, _ = cell(words(ids))
            step(optimizer, functional.cross_entropy(head(out).reshape(-1, 11), ids.reshape(-1)))

        return train

    return make


def attention(batch_first, weights):
    def make():
        layer, head = nn.MultiheadAttention(8, 2, batch_first=batch_first), nn.Linear(8, 3)
        optimizer = adam(layer, head)

        def train(_):
            x = torch.randn(4, 6, 8)
            out, _ = layer(x, x, x, need_weights=weights)
            step(optimizer, functional.cross_entropy(head(out.mean(1)), torch.randint(3, (4,))))

        return train

    return make


def slots():
    """Slot attention: a softmax over the queries, normalised along the keys after it."""
    queries, keys = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizer = adam(queries, keys)

    def train(_):
        q, k = queries(torch.randn(2, 3, 4)), keys(torch.randn(2, 7, 4))
        weights = (q @ k.transpose(1, 2)).softmax(1) + 1e-8
        step(optimizer, (weights / weights.sum(2, keepdim=True) @ k).square().mean())

    return train


def capped_logits():
    model = nn.Linear(4, 3)
    optimizer = adam(model)

    def train(_):
        logits = 10 * torch.tanh(model(torch.randn(8, 4)) / 10)
        step(optimizer, functional.cross_entropy(logits, torch.randint(3, (8,))))

    return train


def segmentation():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1))
    optimizer = adam(model)

    def train(_):
        out, y = model(torch.randn(2, 1, 6, 6)), torch.randint(3, (2, 4, 4))
        flat = out.permute(0, 2, 3, 1).reshape(-1, 3)
        step(optimizer, functional.cross_entropy(out, y) + functional.cross_entropy(flat, y.reshape(-1)))

    return train


def shuffled_channels():
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU())
    optimizer = adam(model)

    def train(_):
        out = model(torch.randn(2, 1, 6, 6))
        step(optimizer, out.view(2, 3, 2, 4, 4).transpose(1, 2).reshape(2, 6, 4, 4).flatten(1).square().mean())

    return train


def truncated():
    """Backpropagation through time over four steps of the optimizer's."""
    cell, head = nn.Linear(6, 4), nn.Linear(4, 1)
    optimizer = torch.optim.SGD(head.parameters(), 1e-3)
    state = [torch.zeros(2, 4)]

    def train(at):
        state[0] = torch.tanh(cell(torch.cat([torch.randn(2, 2), state[0]], 1)))
        step(optimizer, head(state[0]).square().mean(), retain_graph=True)
        if at % 4 == 3:
            state[0] = state[0].detach()

    return train


def autoencoder():
    encoder, decoder = nn.Linear(6, 4), nn.Linear(2, 6)
    optimizer = adam(encoder, decoder)

    def train(_):
        x = torch.rand(8, 6)
        mean, log_variance = encoder(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
        step(optimizer, functional.binary_cross_entropy(torch.sigmoid(decoder(z)), x) + 0.1 * kl)

    return train


TRAININGS = {
    one.__name__: one
    for one in (
        contrastive, written_out_contrastive, distances, survival, gradient_penalty, momentum_teacher, frozen_backbone,
        soft_actor_critic, slots, capped_logits, segmentation, shuffled_channels, truncated, autoencoder,
    )
} | {
    f"{kind.__name__}, {'batch' if batch_first else 'time'} first": language_model(kind, batch_first)
    for kind in (nn.LSTM, nn.GRU) for batch_first in (True, False)
} | {
    f"attention {batch_first} {weights}": attention(batch_first, weights)
    for batch_first in (True, False) for weights in (True, False)
}  # fmt: skip


@pytest.mark.parametrize("name", TRAININGS)
def test_what_is_meant_is_quiet(tmp_path, name):
    torch.manual_seed(0)
    with recorded(tmp_path / "run"):
        train = TRAININGS[name]()
        for at in range(STEPS):
            train(at)
    run = run_of(tmp_path / "run")
    assert run.meta.graph.looks
    assert run.meta.disabled == []
    found = {rule.name: [one.headline for one in examine(rule, run).findings] for rule in RULES}
    assert {rule: said for rule, said in found.items() if said} == {}
