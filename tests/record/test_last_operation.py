"""The activation before a loss is read off the graph, past what only moves numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from gradaudit.schema import LossFacts
from tests.record.training import recorded, run_of

Ending = Callable[[torch.Tensor], torch.Tensor]


def trained(folder: Path, *endings: Ending) -> LossFacts:
    """A step for each of these endings of a linear model of three outputs."""
    with recorded(folder):
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for ending in endings:
            output = ending(model(torch.randn(8, 4)))
            loss = functional.mse_loss(output, torch.rand(output.shape))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return run_of(folder).meta.losses[0]


ENDINGS = pytest.mark.parametrize(
    ("ending", "activation", "over"),
    [
        (lambda y: y, "", 0),
        (lambda y: torch.sigmoid(y), "sigmoid", 0),
        (lambda y: torch.sigmoid(y).reshape(-1).unsqueeze(1), "sigmoid", 0),
        (lambda y: 2 * torch.sigmoid(y), "", 0),
        (lambda y: torch.tanh(y).double().float(), "tanh", 0),
        (lambda y: functional.relu(y, inplace=True), "relu", 0),
        (lambda y: y.softmax(1), "softmax", 3),
        (lambda y: y.softmax(-1), "softmax", 3),
        (lambda y: y.softmax(0), "softmax", 8),
        (lambda y: y[:, :1].softmax(dim=1).squeeze(1), "softmax", 1),
        (nn.Softmax(dim=1), "softmax", 3),
        (nn.ReLU(inplace=True), "relu", 0),
    ],
)


@ENDINGS
def test_the_activation_is_known(tmp_path: Path, ending: Ending, activation: str, over: int) -> None:
    facts = trained(tmp_path / "a", ending, ending)
    assert (facts.activation, facts.softmax_over) == (activation, over)


def test_two_models_under_one_loss_have_no_common_activation(tmp_path: Path) -> None:
    facts = trained(tmp_path / "a", lambda y: torch.sigmoid(y), lambda y: y, lambda y: torch.sigmoid(y))
    assert (facts.activation, facts.softmax_over) == ("", 0)


def test_a_second_phase_of_training_is_seen(tmp_path: Path) -> None:
    phases = [torch.sigmoid] * 40 + [torch.Tensor.double] * 9
    facts = trained(tmp_path / "a", *phases)
    assert (facts.activation, facts.softmax_over) == ("", 0)


def test_a_function_of_the_script_says_nothing(tmp_path: Path) -> None:
    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values):
            return values.sigmoid()

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    assert trained(tmp_path / "a", Own.apply).activation is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@ENDINGS
def test_inside_a_compiled_region_it_is_read_off_the_compilers_graph(
    tmp_path: Path, ending: Ending, activation: str, over: int
) -> None:
    torch._dynamo.reset()
    model = nn.Linear(4, 3)

    @torch.compile(backend="aot_eager")
    def loss_of(x: torch.Tensor) -> torch.Tensor:
        output = ending(model(x))
        return functional.mse_loss(output, torch.ones_like(output))

    with recorded(tmp_path / "a"):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            loss_of(torch.randn(8, 4)).backward()
            optimizer.step()
    (facts,) = run_of(tmp_path / "a").meta.losses
    assert (facts.activation, facts.softmax_over) == (activation, over)
