"""What recording costs: the steps of one training with and without it, in turn, in one process.

Every round runs every column for some steps; a ratio is that of a column's mean step to the bare mean
step of the same round, and the median over the rounds is printed. CPU time is that of all threads of
the process, since wall time on a shared machine says little; both are printed. Of this recorder the
hooks and the writer's thread are also timed by themselves, which is steadier than a difference of two
long times. The column "bare again" shows how far two equal columns differ.
"""

import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch

from benchmarks import columns
from benchmarks.trainings import TRAININGS, Training

ROUNDS = 3
LOGGED_RARELY = 100  # steps between two of wandb's logs, as it is advised


class Kind(NamedTuple):
    """One column of the table; `steps` gives its steps in a round, 0 to run in the first round only."""

    name: str
    make: Callable[[Training, Path], Any]
    default: bool = False
    steps: int = 0


KINDS = (
    Kind("bare", columns.bare),
    Kind("bare again", columns.bare),
    Kind("gradaudit, every step", partial(columns.recorded, every=1)),
    Kind("gradaudit, default", partial(columns.recorded, every=None), default=True),
    Kind("4 statistics by hand", partial(columns.by_hand, more=False)),
    Kind("7 statistics by hand", partial(columns.by_hand, more=True)),
    Kind("TensorBoard histograms", columns.tensorboard),
    Kind("wandb.watch(all), each step", partial(columns.wandb, frequency=1)),
    Kind("wandb.watch(all), log_freq=100", partial(columns.wandb, frequency=LOGGED_RARELY), steps=LOGGED_RARELY),
    Kind("torchmortem", columns.torchmortem),
    Kind("gradsnitch", columns.gradsnitch),
    Kind("torch-audit", columns.torch_audit),
    Kind("neural-observatory", columns.neural_observatory),
)


class Sample(NamedTuple):
    """Means of one column in one round, in seconds a step."""

    cpu: float
    wall: float
    spent: float  # in this recorder's hooks and writer


def step(training: Training, column: columns.Column) -> None:
    """One training step with the column's calls around it."""
    column.before()
    training.optimizer.zero_grad()
    loss = training.loss()
    loss.backward()
    column.backward_done()
    training.optimizer.step()
    column.stepped(loss.item())


def sample(training: Training, column: columns.Column, steps: int) -> Sample:
    """Time `steps` steps, and what other threads do of them."""
    spent = sum(column.spent()) if column.spent is not None else 0.0
    column.resume()
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(steps):
        step(training, column)
    wall = time.perf_counter() - wall
    column.pause()
    cpu = time.process_time() - cpu
    spent = sum(column.spent()) - spent if column.spent is not None else 0.0
    return Sample(cpu / steps, wall / steps, spent / steps)


def measure(training: Training, folder: Path) -> tuple[dict[str, list[Sample]], dict[str, str]]:
    """The samples of each column, and what it kept or why it did not run."""
    found: dict[str, list[Sample]] = {kind.name: [] for kind in KINDS}
    notes: dict[str, str] = {}
    lasting = next(kind for kind in KINDS if kind.default)
    with lasting.make(training, folder) as default:
        sample(training, default, 34 if training.short else 230)  # until the cadence has settled
        for turn in range(ROUNDS):
            for number, kind in enumerate(KINDS):
                if kind.default:
                    found[kind.name].append(sample(training, default, training.default))
                elif kind.name not in notes or (found[kind.name] and not kind.steps):
                    place = folder / f"{number}-{turn}"
                    place.mkdir()
                    notes[kind.name] = _one(training, kind, place, found[kind.name])
    notes[lasting.name] = default.kept()
    return found, notes


def _one(training: Training, kind: Kind, folder: Path, found: list[Sample]) -> str:
    """Take a sample of a column that is opened anew; returns what it kept, or its error."""
    try:
        with kind.make(training, folder) as column:
            sample(training, column, 1)
            taken = sample(training, column, kind.steps or training.steps)
        found.append(taken)
        return column.kept()
    except ImportError as error:
        return f"not installed: {error.name}"
    except Exception as error:  # that a tool does not run is a result
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def table(training: Training, found: dict[str, list[Sample]], notes: dict[str, str]) -> str:
    """Markdown: a row for each column."""
    bare = found["bare"]
    own = statistics.median(taken.spent for taken in found["gradaudit, every step"])
    size = sum(parameter.numel() for parameter in training.model.parameters())
    lines = [
        f"### {training.name}",
        "",
        f"{size:,} parameters in {len(list(training.model.parameters()))} tensors; "
        f"a bare step takes {1000 * statistics.median(taken.cpu for taken in bare):.2f} ms of CPU time.",
        "",
        "| | CPU | wall | added CPU, ms | hooks and writer | added, to ours at every step | kept |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        taken = found[kind.name]
        if not taken:
            lines.append(f"| {kind.name} | | | | | | {notes[kind.name]} |")
            continue
        pairs = list(zip(taken, bare, strict=False))
        cpu = statistics.median(one.cpu / other.cpu for one, other in pairs)
        wall = statistics.median(one.wall / other.wall for one, other in pairs)
        added = statistics.median(one.cpu - other.cpu for one, other in pairs)
        spent = statistics.median(one.spent / other.cpu for one, other in pairs)
        ours = f"{spent:.2%}" if kind.make.__class__ is partial and kind.make.func is columns.recorded else ""
        times = f"{added / own:.1f}x" if not ours and not kind.name.startswith("bare") else ""
        cells = (kind.name, f"{cpu:.3f}x", f"{wall:.3f}x", f"{1000 * added:.2f}", ours, times, notes[kind.name])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main(names: tuple[str, ...] = ()) -> None:
    """Print a table for each training, or for those whose names hold one of `names`."""
    torch.set_num_threads(1)
    for build in TRAININGS:
        torch.manual_seed(0)
        training = build()
        if not names or any(name in training.name for name in names):
            with tempfile.TemporaryDirectory() as folder:
                click.echo(table(training, *measure(training, Path(folder))))
            gc.collect()


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
