"""Records and judges the field suite: python -m benchmarks.field."""

import subprocess
import sys

import click

from benchmarks.field import table
from benchmarks.field.catalogue import HALVES, Program, pairs, programs
from benchmarks.field.judge import alarms, outcome
from benchmarks.field.record import run_all
from benchmarks.lab.record import ROOT
from benchmarks.lab.results import keep
from gradaudit.diagnosers import all_diagnosers

# Cheap, and as different as they come; a test runs them.
QUICK = (
    "gan_detach",
    "last_batch",
    "ppo_batch1",
    "requires_grad_hack",
    "zero_grad_before_step",
    "kl_div_probabilities",
)


def complaint(program: Program, seed: int = 0) -> str:
    """What is wrong about the judgement of a program that was run, or nothing.

    A fault that no diagnoser names yet is not asked for.
    """
    told = table.audits([program], seed + 1)[program.name, program.variant, seed]
    if program.variant != "faulty":
        return ", ".join(f"{item.diagnoser}: {item.words}" for item in alarms(told))
    pair = pairs()[program.name][1]
    if not set(pair.outright) & {item.name for item in all_diagnosers()}:
        return ""
    judged = outcome(pair, told)
    return "" if judged == "outright, first" else f"{judged}: {told[0].words if told else 'nothing is found'}"


def commit() -> str:
    """The commit that is judged; with a plus where the working tree differs from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


@click.command()
@click.option("--half", type=click.Choice([*HALVES, "all"]), default="all", show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--quick", is_flag=True, help="A few pairs only; exit code 1 when one is judged wrongly.")
@click.option("--as-is", is_flag=True, help="Run nothing: judge what was run, by whatever recorder and diagnosers.")
@click.option("--write", is_flag=True, help="Put the table into benchmarks/RESULTS.md, or replace that of today.")
@click.argument("names", nargs=-1)
def main(half: str, seeds: int, jobs: int, quick: bool, as_is: bool, write: bool, names: tuple[str, ...]) -> None:
    """Record, analyze and judge the programs called NAMES, or all."""
    wanted = programs(half, QUICK if quick else names)
    troubles = [] if as_is else run_all(wanted, seeds, jobs)
    if quick:
        troubles += [f"{program.folder}: {why}" for program in wanted if (why := complaint(program))]
        for trouble in troubles:
            click.echo(trouble)
        sys.exit(bool(troubles))
    text = table.block(table.audits(wanted, seeds), commit())
    click.echo(text)
    if write:
        keep(text)
    for trouble in troubles:
        click.echo(f"not run: {trouble}", err=True)


if __name__ == "__main__":
    main()
