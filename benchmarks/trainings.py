"""The five small trainings whose steps are timed."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional


class Training(NamedTuple):
    """One training and how many of its steps make a fair sample."""

    name: str
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    loss: Callable[[], torch.Tensor]  # of a new batch
    steps: int  # of each column in each round
    default: int  # steps of the default column in each round
    short: bool  # steps are so slow that the default column begins to thin out after 16 instead of 100


def _classifier(name: str, model: torch.nn.Module, shape: tuple[int, ...], steps: int, default: int) -> Training:
    def loss() -> torch.Tensor:
        # A new batch each time: a network that has learnt its only batch has gradients of zero.
        return functional.cross_entropy(model(torch.randn(shape)), torch.randint(0, 10, shape[:1]))

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    return Training(name, model, optimizer, loss, steps, default, short=False)


def perceptron(width: int, batch: int, steps: int, default: int) -> Training:
    """784 inputs, two hidden layers of `width`, 10 classes."""
    layers = [torch.nn.Linear(784, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(width, 10))
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return _classifier(f"{size:.1f} M MLP, a batch of {batch}", model, (batch, 784), steps, default)


def convolutional() -> Training:
    """Three convolutions with BatchNorm on images of 32 x 32."""
    layers: list[torch.nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
        layers += [torch.nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), torch.nn.BatchNorm2d(outputs)]
        layers.append(torch.nn.ReLU())
    model = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(128, 10))
    return _classifier("0.1 M CNN, 32 images of 32 x 32", model, (32, 3, 32, 32), 40, 640)


class Transformer(torch.nn.Module):
    """A GPT of 10.9 M parameters in 76 tensors: six blocks of width 384, 256 tokens in the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = torch.nn.Embedding(256, 384), torch.nn.Embedding(128, 384)
        block = torch.nn.TransformerEncoderLayer(384, 6, 1536, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = torch.nn.TransformerEncoder(block, 6, enable_nested_tensor=False)
        self.norm, self.head = torch.nn.LayerNorm(384), torch.nn.Linear(384, 256, bias=False)
        self.register_buffer("mask", torch.nn.Transformer.generate_square_subsequent_mask(128))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [batch, 128, 256]."""
        hidden = self.tokens(tokens) + self.places.weight
        return self.head(self.norm(self.blocks(hidden, mask=self.mask)))


def transformer(batch: int, steps: int, default: int) -> Training:
    """`Transformer` on `batch` sequences of 128 tokens."""
    model = Transformer()

    def loss() -> torch.Tensor:
        tokens = torch.randint(0, 256, (batch, 129))
        return functional.cross_entropy(model(tokens[:, :-1]).reshape(-1, 256), tokens[:, 1:].reshape(-1))

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    name = f"10.9 M GPT, {128 * batch:,} tokens"
    return Training(name, model, optimizer, loss, steps, default, short=True)


TRAININGS: tuple[Callable[[], Training], ...] = (
    lambda: perceptron(256, 64, steps=100, default=640),
    lambda: perceptron(1024, 128, steps=30, default=640),
    convolutional,
    lambda: transformer(1, steps=8, default=64),
    lambda: transformer(8, steps=3, default=16),
)
