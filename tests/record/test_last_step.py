"""Which predictions are seen to be made from the last step of a recurrent layer, and the padding before it."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from gradaudit.record.observe.batches import last_step
from tests.record.test_batches import facts, fault
from tests.record.training import recorded, run_of

WORDS, LENGTH = 20, 24


def texts(generator, left=False):
    """[8, 24] words from 1 on, padded with 0; and their lengths."""
    ids = torch.randint(1, WORDS, (8, LENGTH), generator=generator)
    lengths = torch.randint(5, LENGTH - 8, (8,), generator=generator)
    ids = torch.where(torch.arange(LENGTH) < lengths[:, None], ids, 0)
    return (ids.flip(1) if left else ids), lengths


class Reader(nn.Module):
    def __init__(self, read, layer=nn.GRU, layers=1, both=False, first=True):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.layer = layer(8, 8, layers, batch_first=first, bidirectional=both)
        self.head = nn.Sequential(nn.Linear(16 if both else 8, 8), nn.ReLU(), nn.Linear(8, 3))
        self.read, self.first = read, first

    def forward(self, ids, lengths):
        x = self.embedding(ids)
        return self.head(self.read(self.layer, x if self.first else x.transpose(0, 1), lengths))


def state(layer, x, _):
    state = layer(x)[1]
    return (state[0] if isinstance(state, tuple) else state)[-1]


def packed(layer, x, lengths):
    return layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1][-1]


LAST = {
    "output": (lambda layer, x, _: layer(x)[0][:, -1], {}),
    "output by its place": (lambda layer, x, _: layer(x)[0][:, LENGTH - 1], {}),
    "output, time first": (lambda layer, x, _: layer(x)[0][-1], {"first": False}),
    "state": (state, {}),
    "two layers": (state, {"layers": 2}),
    "LSTM": (lambda layer, x, _: layer(x)[0][:, -1], {"layer": nn.LSTM}),
    "state of an LSTM": (state, {"layer": nn.LSTM, "layers": 2}),
    "RNN": (state, {"layer": nn.RNN}),
}
OTHERS = {
    "packed": (packed, {}),
    "at its own length": (lambda layer, x, lengths: layer(x)[0][torch.arange(8), lengths - 1], {}),
    "the first": (lambda layer, x, _: layer(x)[0][:, 0], {}),
    "one before the last": (lambda layer, x, _: layer(x)[0][:, -2], {}),
    "mean": (lambda layer, x, _: layer(x)[0].mean(1), {}),
    "largest": (lambda layer, x, _: layer(x)[0].amax(1), {}),
    "both directions": (lambda layer, x, _: torch.cat([*layer(x)[1]], 1), {"both": True}),
    "both directions, output": (lambda layer, x, _: layer(x)[0][:, -1], {"both": True}),
    "turned round": (lambda layer, x, _: layer(x.flip(1))[0][:, -1], {}),
    "turned round by its places": (lambda layer, x, _: layer(x[:, torch.arange(LENGTH).flip(0)])[0][:, -1], {}),
    "no layer": (lambda layer, x, _: x[:, -1], {}),
}


def train(read, left=False, binary=False, **options):
    torch.manual_seed(0)
    model = Reader(read, **options)
    optimizer = torch.optim.Adam(model.parameters())
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(5):
        ids, lengths = texts(generator, left)
        out = model(ids, lengths)
        if binary:
            loss = functional.binary_cross_entropy_with_logits(out[:, 0], (ids[:, 0] % 2).float())
        else:
            loss = functional.cross_entropy(out, ids[:, 0] % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def found(tmp_path, *arguments, **options):
    (source,) = facts(tmp_path, lambda: train(*arguments, **options))
    return source.last_step


@pytest.mark.parametrize("case", OTHERS)
def test_predictions_from_something_else_are_left_out(tmp_path, case):
    read, options = OTHERS[case]
    seen = found(tmp_path, read, **options)
    assert seen.looks == 4
    assert seen.found == 0


@pytest.mark.parametrize("case", LAST)
def test_the_last_step_is_seen(tmp_path, case):
    read, options = LAST[case]
    seen = found(tmp_path, read, **options)
    assert seen.found == seen.looks >= 4
    assert (seen.rows, seen.positions) == (8 * seen.found, 8 * LENGTH * seen.found)
    assert (seen.padded, seen.inside, seen.one_id) == (seen.rows, 0, True)
    assert 0.3 < seen.padding / seen.positions < 0.8


def test_padding_on_the_left_is_none(tmp_path):
    seen = found(tmp_path, *LAST["state"][:1], left=True)
    assert (seen.padded, seen.one_id) == (0, False)
    assert seen.found >= 4


def test_what_is_compiled_is_left_alone(tmp_path):
    """The graph of a compiled region says nothing of its inside."""

    def program():
        torch.manual_seed(0)
        model = Reader(LAST["output"][0])
        call, optimizer = torch.compile(model, backend="aot_eager"), torch.optim.Adam(model.parameters())
        for _ in range(2):
            ids, lengths = texts(torch.Generator().manual_seed(1))
            functional.cross_entropy(call(ids, lengths), ids[:, 0] % 3).backward()
            optimizer.step()

    assert all(source.last_step.found == 0 for source in facts(tmp_path, program))


@pytest.mark.parametrize("name", ["_read", "_padding"])
def test_a_fault_costs_the_batches_alone(tmp_path, capsys, monkeypatch, name):
    read = LAST["state"][0]
    bare = train(read)
    monkeypatch.setattr(last_step, name, fault)
    with recorded(tmp_path / "run"):
        assert train(read) == bare
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "gradaudit: batches are no longer recorded (RuntimeError: fault of ours); all else is"
    assert run_of(tmp_path / "run").meta.loaders == []
