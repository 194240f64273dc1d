"""Writes what every finding carries: how often its diagnoser spoke up in healthy runs, and in runs with its fault."""

import json
from collections.abc import Iterable
from datetime import date

import click
import msgspec

from benchmarks.lab import figures
from benchmarks.lab.analyze import WHOLE, definitions_commit
from benchmarks.lab.figures import Trial
from gradaudit.audit.base_rates import FILE, Laboratory, Tally, laboratory
from gradaudit.diagnosers import all_diagnosers
from gradaudit.findings import Severity

LOOKED = ("found", "clean")


def measured(runs: list[Trial], names: Iterable[str], definitions: str) -> Laboratory:
    """The whole file from analyzed runs, with an entry for each of `names`."""
    healthy = [run for run in runs if run.experiment.fault is None]
    faulty = [run for run in runs if run.experiment.fault is not None]
    return Laboratory(
        date=date.today().isoformat(),
        definitions=definitions,
        healthy_runs=len(healthy),
        faulty_runs=len(faulty),
        diagnosers={name: tally(name, healthy, faulty) for name in sorted(names)},
    )


def tally(name: str, healthy: list[Trial], faulty: list[Trial]) -> Tally | None:
    """The counts of one diagnoser: healthy runs that it could judge, and all runs with the fault of its name.

    None where there is neither. A fault that it could not look for was not found.
    """
    judged = [run for run in healthy if run.outcomes[WHOLE]["faces"].get(name) in LOOKED]
    sick = [run for run in faulty if run.experiment.fault and run.experiment.fault.fault == name]
    if not judged and not sick:
        return None
    return Tally(
        healthy_runs=len(judged), healthy=at_least(name, judged), faulty_runs=len(sick), faulty=at_least(name, sick)
    )


def at_least(name: str, runs: list[Trial]) -> dict[Severity, int]:
    """For each severity the runs in which `name` found something as bad or worse."""
    return {
        severity: sum(name in run.fired([one for one in Severity if one.rank <= severity.rank]) for run in runs)
        for severity in Severity
    }


def renamed(kept: Laboratory, names: Iterable[str]) -> Laboratory:
    """The same figures, with entries for exactly `names`: a new one is not measured."""
    return msgspec.structs.replace(kept, diagnosers={name: kept.diagnosers.get(name) for name in sorted(names)})


def text(figured: Laboratory) -> str:
    """The file that the package ships: JSON with a line a diagnoser."""
    whole = msgspec.to_builtins(figured)
    entries = [f"    {json.dumps(name)}: {json.dumps(counts)}" for name, counts in whole.pop("diagnosers").items()]
    head = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in whole.items()]
    return "\n".join(["{", *head, '  "diagnosers": {', ",\n".join(entries), "  }", "}"]) + "\n"


@click.command()
@click.option("--names", is_flag=True, help="Keep the figures; only add diagnosers that are new, and drop those gone.")
def main(names: bool) -> None:
    """Write gradaudit/audit/base_rates.json from every run that is recorded and analyzed."""
    catalogue = [item.name for item in all_diagnosers()]
    runs = [] if names else figures.trials()
    if not names and not runs:
        raise click.ClickException("no run is recorded and analyzed: make lab")
    figured = renamed(laboratory(), catalogue) if names else measured(runs, catalogue, definitions_commit())
    FILE.write_text(text(figured), encoding="utf-8")
    bare = [name for name, counts in figured.diagnosers.items() if counts is None]
    click.echo(f"{figured.healthy_runs} healthy and {figured.faulty_runs} faulty runs of {figured.date}")
    click.echo(f"not measured: {', '.join(bare) or 'none'}")


if __name__ == "__main__":
    main()
