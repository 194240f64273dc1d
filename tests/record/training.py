"""Two ways to record a small training in a test: in this process, and through the command."""

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import torch

from gradaudit.reading.run import Run, load
from gradaudit.record import install, session
from gradaudit.record.patches import optimizer
from gradaudit.record.settings import Settings


@contextlib.contextmanager
def recorded(directory: Path, every: int | None = 1, activations: bool = False) -> Iterator[Path]:
    """Record what is trained inside, through the same patches as `gradaudit record`."""
    install.install(activations=activations)
    session.start(Settings(directory=str(directory), every=every, quiet=True, activations=activations))
    try:
        yield directory
        assert session.current() is not None, "the recording gave up"
    finally:
        session.stop("finished")
        install.uninstall()
        assert not optimizer._handles


def run_of(directory: Path) -> Run:
    return load(directory)


def script(folder: Path, text: str, name: str = "train.py") -> Path:
    """Write a training script."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text))
    return file


def python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter on `arguments` in `folder`, without recording."""
    return run(folder, sys.executable, *arguments, **environment)


def record(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`gradaudit record` with `arguments`, in `folder`."""
    return run(folder, sys.executable, "-m", "gradaudit", "record", *arguments, **environment)


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder` and keep what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRADAUDIT")}
    return subprocess.run(
        command, cwd=folder, env={**clean, **environment}, capture_output=True, text=True, timeout=240, check=False
    )


def classifier(dropout: float = 0.0) -> torch.nn.Sequential:
    """A small seeded network: 10 features, 3 classes."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(10, 16), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(16, 3)
    )


def batch(size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """A seeded batch for `classifier`."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 10, generator=generator), torch.randint(0, 3, (size,), generator=generator)
