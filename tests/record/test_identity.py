"""Trainings of many kinds: recorded at default flags, each gives the same bits and leaves the same random numbers."""

import copy
import random

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from tests.record.training import recorded, run_of

STEPS = 40  # beyond the second look for copies


def gan():
    maker, judge = (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, out)) for out in (4, 1))
    makes, judges = (torch.optim.Adam(model.parameters(), 1e-3) for model in (maker, judge))
    ones, zeros = torch.ones(8, 1), torch.zeros(8, 1)
    loss = functional.binary_cross_entropy_with_logits  # as it is while it is watched
    for _ in range(STEPS):
        fake = maker(torch.randn(8, 4))
        judges.zero_grad()
        first = loss(judge(torch.randn(8, 4)), ones) + loss(judge(fake.detach()), zeros)
        first.backward()
        judges.step()
        makes.zero_grad()
        second = loss(judge(fake), ones)
        second.backward()
        makes.step()
        yield first, second
    yield from (*maker.parameters(), *judge.parameters())


def target_network():
    online = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    target = copy.deepcopy(online)
    optimizer = torch.optim.Adam(online.parameters(), 1e-3)
    for step in range(STEPS):
        state, action = torch.randn(8, 4), torch.randint(0, 2, (8, 1))
        with torch.no_grad():
            wanted = 1 + 0.9 * target(state + 1).amax(1)
        loss = functional.smooth_l1_loss(online(state).gather(1, action)[:, 0], wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 9:
            target.load_state_dict(online.state_dict())
        yield loss
    yield from target.parameters()


def fit(model, loss_of, optimizer=None):
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), 1e-3)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(step)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield loss
    yield from model.state_dict().values()


def variational():
    model = nn.ModuleDict({"encode": nn.Linear(12, 4), "decode": nn.Linear(2, 12)})

    def loss_of(_):
        x = torch.rand(8, 12)
        mean, log_variance = model["encode"](x).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()
        return functional.binary_cross_entropy_with_logits(model["decode"](code), x) + 0.1 * divergence

    return fit(model, loss_of)


class Words(nn.Module):
    def __init__(self, checkpointed=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.table, self.body = nn.Embedding(11, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head, self.checkpointed = nn.Linear(16, 11), checkpointed

    def forward(self, ids):
        hidden = functional.dropout(self.table(ids), 0.1, self.training)
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        hidden = (
            checkpoint(self.body, hidden, mask, use_reentrant=False) if self.checkpointed else self.body(hidden, mask)
        )
        return self.head(hidden)


def transformer(checkpointed=False):
    model = Words(checkpointed)

    def loss_of(step):
        ids = torch.randint(0, 11, (4, 9))
        if step % 10 == 5:
            model.eval()
            with torch.no_grad():
                functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
            model.train()
        return functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    return fit(model, loss_of)


def images():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))

    def loss_of(step):
        x, y = torch.randn(8, 3, 8, 8), torch.randint(0, 5, (8,))
        if step % 10 == 5:
            model.eval()
            with torch.no_grad():
                functional.cross_entropy(model(x), y)
            model.train()
        return functional.cross_entropy(model(x), y)

    return fit(model, loss_of)


def workers():
    data = TensorDataset(torch.randn(80, 4), torch.randint(0, 3, (80,)))
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        for x, y in DataLoader(data, 8, sampler=RandomSampler(data), num_workers=2):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            yield loss
    yield from model.parameters()


def scaled():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer, scaler = torch.optim.SGD(model.parameters(), 0.1), torch.amp.GradScaler("cpu", init_scale=16.0)
    for step in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(0, 3, (8,)))
        scaler.scale(loss).backward()
        if step == 5:
            model[0].weight.grad[0, 0] = float("inf")
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        yield loss
    yield from (*model.parameters(), torch.tensor(scaler.get_scale()))


def closures():
    model = nn.Linear(4, 3)
    optimizer = torch.optim.LBFGS(model.parameters(), 0.1, max_iter=3)
    x, y = torch.randn(16, 4), torch.randint(0, 3, (16,))

    def closure():
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(STEPS):
        yield optimizer.step(closure)
    yield from model.parameters()


def scripted():
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 3)))
    return fit(model, lambda _: functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(0, 3, (8,))))


PROGRAMS = {
    "gan": gan, "target network": target_network, "variational": variational, "transformer": transformer,
    "checkpointed": lambda: transformer(checkpointed=True), "images": images, "workers": workers, "scaled": scaled,
    "closures": closures, "scripted": scripted,
}  # fmt: skip


def bits(program):
    """All that a program yields, as bytes, and the random numbers that come next."""
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)
    found = [
        one.detach().clone().reshape(-1).view(torch.uint8).numpy().tobytes()
        for given in program()
        for one in (given if isinstance(given, tuple) else (given,))
    ]
    return found, torch.rand(1).item(), random.random(), numpy.random.rand()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_recorded_training_gives_the_same_bits(tmp_path, name):
    bare = bits(PROGRAMS[name])
    with recorded(tmp_path / "run", every=None):
        assert bits(PROGRAMS[name]) == bare
    run = run_of(tmp_path / "run")
    assert run.meta.disabled == []
    assert len(run.steps) >= 20


def test_a_compiled_training_has_the_same_bits_and_graphs(tmp_path):
    def program():
        model, graphs = Words(), []
        model.body = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(8), nn.Dropout(0.1))
        model.forward = lambda ids: model.head(model.body(functional.dropout(model.table(ids), 0.1, model.training)))

        def backend(graph, inputs):
            graphs.append(len(graph.graph.nodes))
            return graph.forward

        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        compiled = torch.compile(model, backend=backend)

        def loss_of(step):
            ids = torch.randint(0, 11, (4, 9))
            if step == 20:
                model.eval()
                with torch.no_grad():
                    functional.cross_entropy(compiled(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
                model.train()
            return functional.cross_entropy(compiled(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

        yield from fit(model, loss_of)
        yield torch.tensor([*graphs, sum(torch._dynamo.utils.counters["graph_break"].values())])

    bare = bits(program)
    with recorded(tmp_path / "run", every=None):
        assert bits(program) == bare
    assert run_of(tmp_path / "run").meta.disabled == []
