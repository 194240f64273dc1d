"""What a step under the recorder costs in instructions, which a busy machine counts like an idle one.

Counted by `perf stat` where the machine has such counters, else by callgrind, fifty times slower. Each figure
is the difference of two runs of different length, over the steps between, so that start-up and the first steps, with
all their statistics, are in neither.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

SHORT, LONG = 420, 740  # steps: five with statistics lie between, as in any 320 once they are thinned out
_BUDGET = 1e-6  # percent: as thin as statistics get


def child(mode: str, steps: int) -> None:
    """Train a small model for some steps, `bare` or `recorded`, and end without closing anything."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    if mode == "recorded":
        from gradaudit.record import install, session
        from gradaudit.record.patches.optimizer import arm
        from gradaudit.record.settings import Settings

        install.install()
        arm()
        session.start(Settings(directory=str(Path(tempfile.mkdtemp()) / "run"), budget=_BUDGET, quiet=True))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    input, target = torch.randn(8, 16), torch.randint(0, 4, (8,))
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(input), target).backward()
        optimizer.step()
    os._exit(0)


def counter() -> Callable[[list[str]], int] | None:
    """What counts the instructions of a command here; None where nothing does."""
    if shutil.which("perf") and _perf(["true"]) > 0:
        return _perf
    return _callgrind if shutil.which("valgrind") else None


def _perf(command: list[str]) -> int:
    done = subprocess.run(
        ["perf", "stat", "-x,", "-e", "instructions:u", *command], capture_output=True, text=True, check=False
    )
    found = re.search(r"^(\d+),", done.stderr, re.MULTILINE)
    return int(found[1]) if found else 0


def _callgrind(command: list[str]) -> int:
    # Without this torch takes code for processors that valgrind does not know.
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    found = re.search(r"refs:\s*([\d,]+)", done.stderr)
    return int(found[1].replace(",", "")) if found else 0


def a_step(count: Callable[[list[str]], int], mode: str) -> int:
    """Instructions of one step."""
    counts = [count([sys.executable, "-m", "benchmarks.instructions", mode, str(steps)]) for steps in (SHORT, LONG)]
    return (counts[1] - counts[0]) // (LONG - SHORT)


@click.command()
@click.argument("mode", default="")
@click.argument("steps", default=0)
def main(mode: str, steps: int) -> None:
    """Print the table; with MODE and STEPS, be one of the counted trainings."""
    if mode:
        child(mode, steps)
    count = counter()
    if count is None:
        raise click.ClickException("neither perf with hardware counters nor valgrind is here")
    bare, recorded = (a_step(count, each) for each in ("bare", "recorded"))
    click.echo(
        f"Counted by {'perf' if count is _perf else 'callgrind'}: 356 parameters, a batch of 8, default flags.\n"
    )
    click.echo("| | instructions a step | to bare |\n|---|---|---|")
    click.echo(f"| bare | {bare:,} | 1.00x |\n| recorded | {recorded:,} | {recorded / bare:.2f}x |")
    click.echo(f"| added | {recorded - bare:,} | |")


if __name__ == "__main__":
    main()
