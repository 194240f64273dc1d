"""What recording costs on a GPU: interleaved pairs of bare and recorded steps, the kernel against its byte floor.

Every pair is one block of bare steps and one of recorded ones, of the same training in one process.
A block's time is that between two CUDA events, and by the wall clock to a synchronisation at its end;
the ratio is the median over the pairs. "bare again" shows how far two equal columns differ.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import nn
from torch.nn import functional

from gradaudit.record import install, session
from gradaudit.record.measure.device import DeviceStatistics
from gradaudit.record.measure.sampler import ParameterSampler
from gradaudit.record.patches.optimizer import arm
from gradaudit.record.recording import Recording
from gradaudit.record.settings import Settings

PAIRS = 12
VARIANTS = {"bare again": None, "every step": 1, "default": 0}
WARM_UP = 130  # steps before the default budget has thinned the grid out
Loss = Callable[[], torch.Tensor]


class Block(nn.Module):
    """A layer of GPT-2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, length, width] to the same."""
        batch, length, width = x.shape
        parts = self.attention(self.before_attention(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.projection(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.narrow(functional.gelu(self.wide(self.before_mlp(x))))


class GPT(nn.Module):
    """The shapes of GPT-2 with 124 M parameters, its output tied to its embedding."""

    def __init__(self, layers: int = 12, width: int = 768, heads: int = 12, words: int = 50257) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(1024, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[batch, length] to [batch, length, words]."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.head(self.norm(self.blocks(self.words(tokens) + self.places(places))))


def gpt(device: torch.device, tokens: int) -> tuple[nn.Module, Loss]:
    """GPT-2 in bfloat16 autocast; a step of `tokens` in micro-batches of at most 8,192."""
    model = GPT().to(device)
    length = min(tokens, 1024)
    micro = min(tokens, 8192)
    x = torch.randint(0, 50257, (micro // length, length), device=device)

    def loss() -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return functional.cross_entropy(model(x).flatten(0, 1), x.flatten()) * micro / tokens

    return model, loss


def small(device: torch.device) -> tuple[nn.Module, Loss]:
    """1 M parameters, bound by its launches."""
    layers = [layer for _ in range(4) for layer in (nn.Linear(512, 512), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(512, 10)).to(device)
    x, y = torch.randn(64, 512, device=device), torch.zeros(64, dtype=torch.long, device=device)
    return model, lambda: functional.cross_entropy(model(x), y)


def _pause() -> Recording:
    """Take the recording and its patches out, so that a bare step is bare."""
    recording, session._current = session.current(), None
    if recording is None:
        raise click.ClickException("the recording gave up")
    install.uninstall()
    return recording


def _go_on(recording: Recording) -> None:
    session._current = recording
    install.install()
    arm()


def pairs(model: nn.Module, loss: Loss, micro_steps: int, steps: int, every: int | None) -> list[float]:
    """Medians over PAIRS: ms of a bare step by events, ratio by events, ratio by the wall clock."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        for _ in range(micro_steps):
            loss().backward()
        optimizer.step()

    def block() -> tuple[float, float]:
        torch.cuda.synchronize()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        began = time.perf_counter()
        begin.record()
        for _ in range(steps):
            step()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / steps, 1000 * (time.perf_counter() - began) / steps

    with tempfile.TemporaryDirectory() as folder:
        if every is not None:
            _go_on(session.start(Settings(directory=str(Path(folder) / "run"), every=every or None, quiet=True)))
        for _ in range(3 if every else WARM_UP):
            step()
        found = []
        for _ in range(PAIRS):
            recording = _pause() if every is not None else None
            bare = block()
            if recording is not None:
                _go_on(recording)
            found.append((bare, block()))
        if every is not None:
            session.stop("finished")
            install.uninstall()
    medians = [statistics.median(bare[0] for bare, _ in found)]
    return medians + [statistics.median(ours[kind] / bare[kind] for bare, ours in found) for kind in (0, 1)]


def kernel_time(model: nn.Module, device: torch.device) -> tuple[float, float]:
    """us of the gradients' statistics, and us that a plain copy of as many bytes takes (half of it: read once)."""
    parameters = list(model.parameters())
    gradients = [torch.randn_like(parameter) for parameter in parameters]
    measured = DeviceStatistics(parameters, ParameterSampler(parameters), 8)
    flat = torch.empty(sum(gradient.numel() for gradient in gradients), device=device)
    other = torch.empty_like(flat)
    flush = torch.empty(64 * 2**20, device=device)  # 256 MB: larger than the cache

    def timed(work: Callable[[], object]) -> float:
        times = []
        for _ in range(20):
            flush.zero_()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize()
            times.append(1000 * begin.elapsed_time(end))
        return statistics.median(times)

    table = [parameter.detach() for parameter in gradients]
    slot = measured.ring.slot()
    measured._launch(measured._kernels, table, slot.rows)
    ours = timed(lambda: measured._launch(measured._kernels, table, slot.rows))
    return ours, timed(lambda: other.copy_(flat)) / 2


def waits(model: nn.Module, loss: Loss, every: int | None) -> int:
    """Calls of the driver in 20 steps, of any thread, that wait for the device."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def train() -> None:
        for _ in range(20):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    with tempfile.TemporaryDirectory() as folder:
        if every is not None:
            _go_on(session.start(Settings(directory=str(Path(folder) / "run"), every=every, quiet=True)))
        train()
        with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
            train()
        if every is not None:
            session.stop("finished")
            install.uninstall()
    names = [event.name for event in profile.events()]
    return sum(name in ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaMemcpy") for name in names)


@click.command()
def main() -> None:
    """Print the tables of benchmarks/RESULTS.md."""
    if not torch.cuda.is_available():
        click.echo("benchmarks.gpu needs a CUDA device, and torch sees none", err=True)
        sys.exit(2)
    device = torch.device("cuda", 0)
    click.echo(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, CUDA {torch.version.cuda}\n")
    cases: dict[str, tuple[Callable[[], tuple[nn.Module, Loss]], int, int]] = {
        "1 M parameters": (lambda: small(device), 1, 200),
        "GPT-2 124 M, 8k tokens": (lambda: gpt(device, 8192), 1, 10),
        "GPT-2 124 M, 64k tokens": (lambda: gpt(device, 65536), 8, 4),
    }
    click.echo("| model | bare step | " + " | ".join(f"{name}: events, wall" for name in VARIANTS) + " |")
    click.echo("|---" * (len(VARIANTS) + 2) + "|")
    for name, (build, micro_steps, steps) in cases.items():
        torch.manual_seed(0)
        model, loss = build()
        cells, bare = [], 0.0
        for every in VARIANTS.values():
            bare, events, wall = pairs(model, loss, micro_steps, steps, every)
            cells.append(f"{events:.4f}x, {wall:.4f}x")
        click.echo(f"| {name} | {bare:.2f} ms | " + " | ".join(cells) + " |")
    click.echo("\n| gradients of | kernels | reading them once | ratio |\n|---|---|---|---|")
    for name, (build, _, _) in cases.items():
        if "64k" not in name:
            ours, floor = kernel_time(build()[0], device)
            click.echo(f"| {name.partition(',')[0]} | {ours:.0f} us | {floor:.0f} us | {ours / floor:.2f}x |")
    click.echo("\n| synchronising calls in 20 steps of | bare | every step |\n|---|---|---|")
    for name in ("1 M parameters", "GPT-2 124 M, 8k tokens"):
        counts = [waits(*cases[name][0](), every) for every in (None, 1)]
        click.echo(f"| {name} | {counts[0]} | {counts[1]} |")


if __name__ == "__main__":
    main()
