"""However small the budget: the training is the same, and rows of every tensor are there."""

import numpy
import pytest
import torch
from torch.nn import functional

from gradaudit.reading.run import load
from gradaudit.record.cadence import FULL
from gradaudit.record.recorder import Recorder
from gradaudit.schema import TENSORS
from tests.record.training import classifier

STEPS = 700


def train(model, optimizer):
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x, y = torch.randn(16, 10, generator=generator), torch.randint(0, 3, (16,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_the_smallest_budget_keeps_the_training_and_rows_of_every_tensor(tmp_path):
    model = classifier(dropout=0.1)
    bare = train(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    model = classifier(dropout=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with Recorder(model, optimizer, directory=tmp_path / "run", budget=1e-6, quiet=True):
        recorded = train(model, optimizer)
    assert all(torch.equal(one, other) for one, other in zip(bare, recorded, strict=True))

    run = load(tmp_path / "run")
    assert run.problems == ()
    assert run.steps["step"].tolist() == list(range(STEPS))
    assert run.steps[["objective", "mean_loss", "seconds"]].iloc[1:].notna().all().all()
    assert (run.steps["targets"] == 16).all()
    assert (run.steps["batch_size"] == 16).all()
    steps = run.training(0).recorded
    assert steps[:FULL].tolist() == list(range(FULL))
    later = steps[FULL:]
    assert 0.01 * (STEPS - FULL) <= len(later) < 0.1 * (STEPS - FULL)
    tensors = len(list(model.parameters()))
    for column in TENSORS.columns:
        if column.name not in TENSORS.key:
            matrix = run.training(0).matrix(column.name)
            assert matrix.shape == (len(steps), tensors), column.name
            # Only the first gradient has none before it.
            assert numpy.isfinite(matrix[1:].astype(float)).all(), column.name


@pytest.mark.parametrize("budget", [0, -1, 101, float("nan")])
def test_a_budget_that_is_no_percentage_is_refused(tmp_path, budget):
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="not a percentage above 0 and up to 100"):
        Recorder(model, optimizer, directory=tmp_path / "run", budget=budget)
    assert not (tmp_path / "run").exists()
