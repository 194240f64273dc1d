"""Shapes of prediction and target that torch stretches over each other are kept, and nothing else is called that."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record.observe.loss.losses import stretched
from gradaudit.schema import LossFacts
from tests.record.training import recorded, run_of


def trained(folder: Path, prediction: tuple[int, ...], target: tuple[int, ...], evaluated: bool = False) -> LossFacts:
    """Three steps of a linear model whose loss gets these shapes, or an evaluation after each that does."""
    with recorded(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(3):
            output = model(torch.randn(8, 4))
            wrong = functional.mse_loss(output.reshape(prediction), torch.randn(target))
            loss = functional.mse_loss(output, torch.randn(8, 1)) if evaluated else wrong
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if evaluated:
                with torch.no_grad():
                    functional.mse_loss(model(torch.randn(8, 4)).reshape(prediction), torch.randn(target))
    return run_of(folder).meta.losses[0]


def test_a_column_against_a_list_is_kept(tmp_path: Path) -> None:
    facts = trained(tmp_path / "a", (8, 1), (8,))
    assert facts.broadcast == [[8, 1], [8]]
    assert facts.evaluation_broadcast == []


def test_equal_shapes_are_known_to_be_equal(tmp_path: Path) -> None:
    facts = trained(tmp_path / "a", (8, 1), (8, 1))
    assert facts.broadcast == []


def test_a_loss_without_a_gradient_is_one_of_evaluation(tmp_path: Path) -> None:
    assert trained(tmp_path / "a", (8, 1), (8,), evaluated=True).evaluation_broadcast == [[8, 1], [8]]


@pytest.mark.parametrize(
    ("prediction", "target", "so"),
    [
        ((8, 1), (8,), True),
        ((8,), (8, 1), True),
        ((4, 8, 1), (4, 8), False),  # torch refuses these: 8 against 4
        ((8, 8, 1), (8, 8), True),
        ((1, 8), (8,), False),  # nothing is repeated
        ((8, 1), (1, 8), False),  # how one writes all pairs
        ((8, 3), (3,), False),  # one target for all
        ((8, 1), (), False),
        ((1, 1), (1,), False),
        ((), (), False),
    ],
)
def test_what_is_stretched(prediction: tuple[int, ...], target: tuple[int, ...], so: bool) -> None:
    try:
        size = torch.broadcast_shapes(prediction, target).numel()
    except RuntimeError:
        return  # the loss raises before anything is recorded
    assert stretched(torch.Size(prediction), torch.Size(target)) is so
    assert not so or size > torch.Size(prediction).numel()
