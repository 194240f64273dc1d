"""Measures what injections cost, before any diagnoser sees them: trainings without a recorder, into fault_costs.csv."""

import csv
import math
import os
import subprocess
import sys
from functools import cache

import click

from benchmarks.lab.configuration import edited
from benchmarks.lab.faulty import COSTS, INJECTED, measured_costs
from benchmarks.lab.healthy import HEALTHY
from benchmarks.lab.losses import Losses, cost, parse
from benchmarks.lab.record import LAB, LIMIT, SEEDS

BASES = {item.name: item for item in HEALTHY}


@cache
def trained(text: str, seed: int) -> Losses:
    """What the script `text` prints when it is run bare."""
    done = subprocess.run(
        [sys.executable, "-c", text, str(seed)], cwd=LAB, env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    return parse(done.stdout)


def write(costs: dict[str, list[float]]) -> None:
    """Write the table, by name."""
    with COSTS.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["fault", *(f"seed {seed}" for seed in range(SEEDS))])
        for name, measured in sorted(costs.items()):
            cells = [f"{value:.3f}" if math.isfinite(value) else "inf" for value in measured]
            table.writerow([name, *cells, *[""] * (SEEDS - len(cells))])


@click.command()
@click.option("--seeds", type=click.IntRange(1, SEEDS), default=1, show_default=True)
@click.argument("names", nargs=-1)
def main(seeds: int, names: tuple[str, ...]) -> None:
    """Measure the injections called NAMES, or all that harm the loss and are not measured yet; each is kept at once."""
    LAB.mkdir(parents=True, exist_ok=True)
    costs = measured_costs()
    for fault in INJECTED:
        known = [] if fault.name in names else costs.get(fault.name, [])
        if (names and fault.name not in names) or len(known) >= seeds or fault.harm != "loss":
            continue
        base = BASES[fault.base].text
        for seed in range(len(known), seeds):
            known = [*known, cost(trained(edited(base, fault.edits), seed), trained(base, seed))]
        costs[fault.name] = known
        write(costs)
        click.echo(f"{fault.name}: {', '.join(f'{value:.3f}' for value in known)}")


if __name__ == "__main__":
    main()
