"""Targets that are one position of their input; and what is none."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from gradaudit.record.observe.batches import echoes
from tests.record.test_batches import facts, fault
from tests.record.training import recorded, run_of

SERIES = torch.randn(200, generator=torch.Generator().manual_seed(1)).cumsum(0)
WINDOWS = SERIES.unfold(0, 13, 1)
TABLE = torch.randn(160, 12, generator=torch.Generator().manual_seed(2))


def train(inputs, targets):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), targets[0].numel()))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = []
    for x, y in DataLoader(TensorDataset(inputs, targets), 16, shuffle=True):
        loss = functional.mse_loss(model(x), y.reshape(len(y), -1).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def echo(tmp_path, x, y):
    (source,) = facts(tmp_path, lambda: train(x, y))
    return source.echo


QUIET = {
    "a forecast": (WINDOWS[:, :-1], WINDOWS[:, -1]),
    "an autoencoder": (TABLE, TABLE),
    "a denoising one": (TABLE + 0.1 * torch.randn(160, 12), TABLE),
    "a persistent series": (WINDOWS[:, :-1], torch.where(torch.rand(188) < 0.9, WINDOWS[:, -2], WINDOWS[:, -1])),
    "a part of the input": (TABLE, TABLE[:, :3]),
    "a sum": (TABLE, TABLE.sum(1)),
    "classes": (TABLE, (TABLE[:, 0] > 0).long()),
    "a constant": (torch.cat([TABLE, torch.ones(160, 1)], 1), torch.ones(160)),
}


@pytest.mark.parametrize("case", QUIET)
def test_what_is_no_position_of_the_input_is_quiet(tmp_path, case):
    assert echo(tmp_path, *QUIET[case]).examples == 0


@pytest.mark.parametrize("form", ["plain", "with channels", "a column"])
def test_the_last_value_of_a_window_is_found(tmp_path, form):
    x, y = WINDOWS[:, :-1], WINDOWS[:, -2]
    x = {"plain": x, "with channels": x[:, None], "a column": torch.stack([x, x.square()], 2)}[form]
    found = echo(tmp_path, x, y[:, None] if form == "plain" else y)
    places = {"plain": ([12], [11]), "with channels": ([1, 12], [0, 11]), "a column": ([12, 2], [11, 0])}
    assert (found.sizes, found.position) == places[form]
    assert (found.batches, found.examples, found.positions) == (12, 188, 1)
    assert found.windows > 8


def test_a_column_of_a_table_is_of_no_series(tmp_path):
    found = echo(tmp_path, TABLE, TABLE[:, 4])
    assert (found.position, found.examples, found.windows) == ([4], 160, 0)


def test_a_table_of_few_values_is_of_no_series(tmp_path):
    digits = torch.randint(0, 10, (160, 16)).float()
    assert echo(tmp_path, digits, digits[:, 4]).windows == 0


@pytest.mark.parametrize("name", ["_pair", "_overlap"])
def test_a_fault_costs_the_batches_alone(tmp_path, capsys, monkeypatch, name):
    bare = train(WINDOWS[:, :-1], WINDOWS[:, -2])
    monkeypatch.setattr(echoes, name, fault)
    with recorded(tmp_path / "run"):
        assert train(WINDOWS[:, :-1], WINDOWS[:, -2]) == bare
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "gradaudit: batches are no longer recorded (RuntimeError: fault of ours); all else is"
    assert run_of(tmp_path / "run").meta.loaders == []
