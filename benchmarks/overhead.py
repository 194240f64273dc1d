"""What recording costs: steps of one training with and without it, in turn, in one process.

CPU time of the training thread, since wall time on a shared machine says little; the ratio is that
of the medians. The second bare column shows how far two equal columns differ.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch.nn import functional

from gradaudit.record import install, session
from gradaudit.record.patches.optimizer import arm
from gradaudit.record.settings import Settings

ROUNDS = 3
VARIANTS = {"bare": None, "bare again": None, "every step": 1, "default": 0}


def perceptron() -> tuple[torch.optim.Optimizer, Callable[[], torch.Tensor], int]:
    """1.9 M parameters, a batch of 128."""
    layers = [torch.nn.Linear(784, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 1024), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(1024, 10))
    x, y = torch.randn(128, 784), torch.randint(0, 10, (128,))
    return torch.optim.AdamW(model.parameters(), lr=1e-4), lambda: functional.cross_entropy(model(x), y), 40


def transformer() -> tuple[torch.optim.Optimizer, Callable[[], torch.Tensor], int]:
    """7.3 M parameters, 1,024 tokens."""
    layer = torch.nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    body = torch.nn.TransformerEncoder(layer, 6)
    model = torch.nn.Sequential(torch.nn.Embedding(5000, 256), body, torch.nn.Linear(256, 5000))
    x, y = torch.randint(0, 5000, (8, 128)), torch.randint(0, 5000, (1024,))
    loss = lambda: functional.cross_entropy(model(x).view(-1, 5000), y)  # noqa: E731
    return torch.optim.AdamW(model.parameters(), lr=1e-4), loss, 8


def measure(build: Callable[[], tuple[torch.optim.Optimizer, Callable[[], torch.Tensor], int]]) -> dict[str, float]:
    """Median milliseconds of CPU time a step, by variant."""
    torch.manual_seed(0)
    optimizer, loss, steps = build()

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(ROUNDS):
            for name, every in VARIANTS.items():
                if every is not None:
                    install.install()
                    directory = str(Path(folder) / f"{turn}-{name}")
                    session.start(Settings(directory=directory, every=every or None, quiet=True))
                    arm()
                # The default cadence thins out after 100 steps, so only those after them are counted.
                for _ in range(130 if every == 0 else 3):
                    step()
                for _ in range(steps):
                    began = time.thread_time()
                    step()
                    times[name].append(1000 * (time.thread_time() - began))
                if every is not None:
                    session.stop("finished")
                    install.uninstall()
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    click.echo("| model | " + " | ".join(VARIANTS) + " |")
    click.echo("|---" * (len(VARIANTS) + 1) + "|")
    for build in (perceptron, transformer):
        found = measure(build)
        cells = [f"{value:.2f} ms, {value / found['bare']:.3f}x" for value in found.values()]
        click.echo(f"| {build.__doc__} | " + " | ".join(cells) + " |")
