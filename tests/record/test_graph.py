"""What the graph behind the objective shows of real small trainings."""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tests.record.training import recorded, run_of


def trained(folder, parts, objective, steps=3, optimizers=1):
    """The graph's facts of a training whose objectives are made by `objective(step)`."""
    torch.manual_seed(0)
    with recorded(folder):
        made = [torch.optim.SGD(part.parameters(), 0.01) for part in parts[:optimizers]]
        for step in range(steps):
            for optimizer in made:
                optimizer.zero_grad()
            objective(step).backward()
            for optimizer in made:
                optimizer.step()
    run = run_of(folder)
    assert run.meta.disabled == []
    return run.meta.graph


def test_a_healthy_classifier_shows_one_term_and_nothing_odd(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    graph = trained(
        tmp_path / "run", [model],
        lambda _: functional.cross_entropy(model(torch.randn(5, 1, 8, 8)), torch.randint(10, (5,))),
    )  # fmt: skip
    (term,) = graph.terms
    assert (term.function, term.tensors, term.used, term.unknown) == ("nll_loss", [0, 1, 2, 3], 3, 0)
    assert [one.kind for one in term.operations][:3] == ["NllLoss", "LogSoftmax", "Addmm"]
    assert graph.views == []
    assert term.broadcast == []
    assert [look.step for look in graph.looks] == [0, 1, 2]
    assert {look.reaches_back for look in graph.looks} == {0}
    assert graph.shapes
    assert any(one.last and one.sizes == [5, 10] and one.axis == 1 and one.rows == 5 for one in graph.softmaxes)


def test_what_terms_come_to(tmp_path):
    encoder, critic = nn.Linear(4, 4), nn.Linear(4, 1)

    def objective(_):
        hidden = encoder(torch.randn(8, 4))
        return hidden.square().mean() + 0.1 * critic(hidden.detach()).exp().mean()

    graph = trained(tmp_path / "run", [encoder, critic], objective)
    first, second = sorted(graph.terms, key=lambda term: -term.used)
    assert (first.used, first.beside) == (3, 0)
    assert (second.used, second.beside, len(second.tensors) + second.unknown) == (0, 3, 2)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_are_left_alone(tmp_path, reentrant):
    calls = []
    inner, head = nn.Linear(4, 4), nn.Linear(4, 2)

    def part(x):
        calls.append(1)
        return inner(x).softmax(1)

    def objective(_):
        x = torch.randn(8, 4, requires_grad=True)
        return functional.mse_loss(head(checkpoint(part, x, use_reentrant=reentrant)), torch.zeros(8, 2))

    model = nn.ModuleList([inner, head])
    graph = trained(tmp_path / "run", [model], objective)
    # Once forwards and once backwards: nothing of ours unpacks what was saved.
    assert len(calls) == 6
    assert graph.terms[0].opaque is reentrant


def test_a_graph_that_grows_reaches_back(tmp_path):
    cell, state = nn.Linear(4, 4), [torch.zeros(2, 4)]

    def objective(step):
        state[0] = state[0] + torch.tanh(cell(torch.randn(2, 4)))
        return state[0].square().mean()

    torch.manual_seed(0)
    with recorded(tmp_path / "run"):
        optimizer = torch.optim.SGD(cell.parameters(), 0.0)
        for step in range(20):
            optimizer.zero_grad()
            objective(step).backward(retain_graph=True)
            optimizer.step()
    looks = run_of(tmp_path / "run").meta.graph.looks
    assert looks[-1].step == 18
    assert looks[-1].reaches_back == 18
    assert looks[-1].nodes > 4 * looks[1].nodes


def ratio_of(x, advantage):
    return torch.min(x.exp() * advantage, x.exp().clamp(0.8, 1.2) * advantage).mean()


def square(size):
    return torch.rand(size, size)


@pytest.mark.parametrize(
    ("loss", "shapes"),
    [
        (lambda out: ratio_of(out[:, 0], torch.rand(8)), []),
        (lambda out: ratio_of(out[:, 0], torch.rand(8, 1)), [[8], [8, 8]]),
        (lambda out: ((out[:, :1] - torch.rand(8)) ** 2).mean(), []),  # a column that was made one on purpose
        (lambda out: (out @ out.T - square(8)).square().mean(), []),
        (lambda out: (out[:, 0].unsqueeze(1) - out[:, 0]).relu().mean(), []),
        (lambda out: functional.log_softmax(out @ out.T, 1).diagonal().mean(), []),
    ],
)
def test_squares_that_are_averaged(tmp_path, loss, shapes):
    model = nn.Linear(4, 3)
    graph = trained(tmp_path / "run", [model], lambda _: loss(model(torch.randn(8, 4))))
    assert graph.terms[0].broadcast == shapes


def test_a_column_of_a_layer_against_a_row(tmp_path):
    model = nn.Linear(4, 1)
    graph = trained(tmp_path / "run", [model], lambda _: ((model(torch.randn(8, 4)) - torch.rand(8)) ** 2).mean())
    assert graph.terms[0].broadcast == [[8, 1], [8, 8]]


@pytest.mark.parametrize(("target", "shapes"), [((8,), [[8, 1], [8, 8]]), ((8, 1), [])])
def test_a_root_and_a_scalar_before_the_mean(tmp_path, target, shapes):
    """A root mean square error, written out."""
    model = nn.Linear(4, 1)

    def rmse(_):
        return (((model(torch.randn(8, 4)) - torch.rand(target)) ** 2).mean() + 1e-8).sqrt()

    assert trained(tmp_path / "run", [model], rmse).terms[0].broadcast == shapes


def attention(out, axis, weigh):
    scores = out @ out.transpose(1, 2)
    return weigh(scores.softmax(axis), out).square().mean()


@pytest.mark.parametrize(
    ("axis", "weigh", "summed"),
    [
        (-1, lambda weights, out: weights @ out, 2),
        (1, lambda weights, out: weights @ out, 2),
        (1, lambda weights, out: weights.transpose(1, 2) @ out, 1),
        (1, lambda weights, out: torch.einsum("bqk,bqd->bkd", weights, out), 1),
        (-1, lambda weights, out: torch.einsum("bqk,bkd->bqd", weights, out), 2),
        (1, lambda weights, out: (weights / weights.sum(2, keepdim=True)) @ out, None),  # slot attention
    ],
)
def test_the_axis_that_attention_sums_over(tmp_path, axis, weigh, summed):
    model = nn.Linear(4, 6)
    graph = trained(tmp_path / "run", [model], lambda _: attention(model(torch.randn(3, 5, 4)), axis, weigh))
    (softmax,) = graph.softmaxes
    assert (softmax.scores, softmax.axis, softmax.summed) == (True, axis % 3, summed)


def flat(out, permute):
    out = out.permute(0, 2, 3, 1) if permute else out
    return functional.cross_entropy(out.reshape(-1, 3), torch.zeros(2 * 36, dtype=torch.long))


@pytest.mark.parametrize(("permute", "faults"), [(True, []), (False, ["channels", "channels"])])
def test_channels_read_as_positions(tmp_path, permute, faults):
    model = nn.Conv2d(1, 3, 3)
    graph = trained(tmp_path / "run", [model], lambda _: flat(model(torch.randn(2, 1, 8, 8)), permute))
    assert [view.fault for view in graph.views] == faults
    assert [view.before_loss for view in graph.views] == [True, False][: len(faults)]


class Recurrent(nn.Module):
    def __init__(self, kind, batch_first, reorder):
        super().__init__()
        self.cell, self.head = kind(4, 5, batch_first=batch_first), nn.Linear(5, 2)
        self.reorder = reorder

    def forward(self, x):
        return self.head(self.reorder(self.cell(x)[0]))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    ("reorder", "fault"),
    [
        (lambda out: out, ""),
        (lambda out: out.transpose(0, 1), ""),
        (lambda out: out.reshape(-1, 5), ""),
        (lambda out: out.reshape(out.shape[1], out.shape[0], 5), "axes"),
    ],
)
def test_views_of_a_recurrent_output(tmp_path, kind, batch_first, reorder, fault):
    model = Recurrent(kind, batch_first, reorder)
    graph = trained(tmp_path / "run", [model], lambda _: model(torch.randn(3, 7, 4)).square().mean())
    assert [view.fault for view in graph.views] == ([fault] if fault else [])


def test_heads_split_off_the_wrong_axis(tmp_path):
    model = nn.Linear(4, 12)
    for place, reorder in enumerate((
        lambda out: out.view(2, 5, 3, 4).transpose(1, 2),
        lambda out: out.view(2, 3, 5, 4),
    )):  # fmt: skip
        graph = trained(
            tmp_path / str(place), [model], lambda _, reorder=reorder: reorder(model(torch.randn(2, 5, 4))).exp().mean()
        )
        assert [view.fault for view in graph.views] == ["heads"] * place


def test_the_shift_of_relative_positions_is_no_mix_up(tmp_path):
    model = nn.Linear(4, 6)

    def shift(scores):  # of Transformer-XL
        padded = torch.cat([torch.zeros(5, 1), scores], 1)
        return padded.view(7, 5)[1:].view(5, 6)

    graph = trained(tmp_path / "run", [model], lambda _: shift(model(torch.randn(5, 4))).exp().mean())
    assert graph.views == []


def test_the_training_is_the_same(tmp_path):
    def train():
        torch.manual_seed(0)
        model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(12):
            optimizer.zero_grad()
            model(torch.randn(3, 5, 8)).square().mean().backward()
            optimizer.step()
        return [parameter.detach().clone() for parameter in model.parameters()]

    bare = train()
    with recorded(tmp_path / "run"):
        found = train()
    assert all(torch.equal(one, other) for one, other in zip(bare, found, strict=True))


class Told(torch.autograd.Function):
    """Says when its part of the graph is gone."""

    @staticmethod
    def forward(ctx, x, token):
        ctx.token = token
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class Token:
    pass


def test_nothing_of_a_training_is_kept_alive(tmp_path):
    with recorded(tmp_path / "run"):
        model, token = nn.Linear(4, 2), Token()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        gone = weakref.ref(token)
        loss = Told.apply(model(torch.randn(3, 4)), token).square().mean()
        loss.backward()
        optimizer.step()
        del loss, token
        gc.collect()
        assert gone() is None
        weight = weakref.ref(model.weight)
        del model, optimizer
        gc.collect()
        assert weight() is None


class Tagger(nn.Module):
    """A recurrent tagger of ids [examples, positions]."""

    def __init__(self, kind, batch_first, turn):
        super().__init__()
        self.emb, self.drop = nn.Embedding(9, 6), nn.Dropout(0.1)
        self.rnn = kind(6, 5, 2, batch_first=batch_first, bidirectional=True)
        self.turn, self.out = turn, nn.Linear(10, 3)

    def forward(self, ids):
        x = self.drop(self.emb(ids.t() if self.turn == "ids" else ids))
        output = self.out(self.rnn(x.transpose(0, 1) if self.turn == "embedding" else x)[0])
        return output if self.turn == "" else output.transpose(0, 1)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(
    ("batch_first", "turn", "scanned"),
    [(True, "", []), (False, "embedding", []), (False, "ids", [7]), (False, "", [4])],
)
def test_the_axis_that_a_recurrent_layer_runs_along(tmp_path, kind, batch_first, turn, scanned):
    model = Tagger(kind, batch_first, turn)
    ids, tags = torch.randint(9, (4, 7)), torch.randint(3, (4, 7))
    graph = trained(
        tmp_path / "run", [model],
        lambda _: functional.cross_entropy(model(ids).reshape(28, 3), tags.flatten()),
    )  # fmt: skip
    assert [view.before[0] for view in graph.views if view.fault == "scan"] == scanned
