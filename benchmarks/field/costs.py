"""What every fault costs, without a recorder: costs.csv. Kept rows stay unless their pair is named."""

import csv
from concurrent.futures import ThreadPoolExecutor

import click

from benchmarks.field.catalogue import HALVES, pairs, programs
from benchmarks.field.record import bare
from benchmarks.field.table import COSTS, costs

Results = list[tuple[float, float]]


def keep(name: str, results: Results) -> None:
    """Write the results of one pair beside those that are kept, in the order of the catalogue."""
    kept = {**costs(), name: results}
    with COSTS.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["pair", "seed", "faulty", "repaired"])
        for pair in pairs():
            for seed, (faulty, repaired) in enumerate(kept.get(pair, [])):
                writer.writerow([pair, seed, f"{faulty:.4g}", f"{repaired:.4g}"])


@click.command()
@click.option("--half", type=click.Choice([*HALVES, "all"]), default="all", show_default=True)
@click.option("--seeds", type=click.IntRange(min=2), default=2, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.argument("names", nargs=-1)
def main(half: str, seeds: int, jobs: int, names: tuple[str, ...]) -> None:
    """Measure the pairs called NAMES, or those that are missing."""
    kept = costs()
    wanted = names or tuple(name for name in pairs(half) if name not in kept)
    by_name = {program.folder: program for program in programs(half, wanted or ("",))}
    with ThreadPoolExecutor(jobs) as pool:
        for name in (name for name in wanted if f"{name}-faulty" in by_name):
            both = [by_name[f"{name}-{kind}"] for kind in ("faulty", "repaired") for _ in range(seeds)]
            found = list(pool.map(bare, both, [*range(seeds)] * 2))
            results = list(zip(found[:seeds], found[seeds:], strict=True))
            keep(name, results)
            click.echo(f"{name}: {', '.join(f'{one:.4g} repaired {two:.4g}' for one, two in results)}")


if __name__ == "__main__":
    main()
