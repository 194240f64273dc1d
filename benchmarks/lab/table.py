"""The tables of the laboratory: the bars, every kind of fault, every diagnoser; printed, and kept in RESULTS.md."""

import math
from collections.abc import Callable, Iterator
from datetime import date
from statistics import median

import click

from benchmarks.lab import figures, record
from benchmarks.lab.analyze import WHOLE, definitions_commit
from benchmarks.lab.configuration import HALVES
from benchmarks.lab.figures import ALARMS, ANY, Share, Trial, share
from benchmarks.lab.losses import why_not_learned
from benchmarks.lab.results import keep

WORDS = {True: "met: ", False: "missed: ", None: ""}
# Those of the second round; the blocks of the first one were held to 2, 95, 90 and 85 %.
BARS = {"warning": 0.01, "found": 0.90, "found as warning": 0.80, "root": 0.85}


def bars(runs: list[Trial]) -> Iterator[tuple[str, str, bool | None]]:
    """(bar, figure, met) of one half."""
    healthy, faulty = of_kind(runs)
    alarmed = share(healthy, figures.false_alarm)
    yield (
        "healthy runs with a warning or critical finding, at most 1 %",
        *judged(alarmed, alarmed.value <= BARS["warning"]),
    )
    critical = share(healthy, lambda run: figures.false_alarm(run, ("critical",)))
    yield "healthy runs with a critical finding, none", *judged(critical, critical.hits == 0)
    anyhow = share(faulty, figures.found)
    yield "faulty runs found, at least 90 %", *judged(anyhow, anyhow.value >= BARS["found"])
    bases = {(run.experiment.name, run.seed): run for run in healthy}
    apart = share(
        faulty,
        lambda run: figures.told_apart(run, bases.get((run.experiment.fault.base, run.seed))),  # type: ignore[union-attr]
    )
    yield "found by a diagnoser that says nothing of the same training without the fault", str(apart), None
    loud = share(faulty, lambda run: figures.found(run, ALARMS))
    yield "found as a warning or worse, at least 80 %", *judged(loud, loud.value >= BARS["found as warning"])
    root = share(faulty, figures.root_first)
    yield "root cause first, at least 85 %", *judged(root, root.value >= BARS["root"])
    for count in ("50", "100"):
        early = share(healthy, lambda run, count=count: figures.false_alarm(run, cut=count))
        yield f"the same after {count} steps: no more false alarms", *judged(early, early.hits <= alarmed.hits)
    silent = sum(
        not run.outcomes[WHOLE]["why"][name] for run in runs for name, status in statuses(run) if status in BLIND
    )
    failed = sum(status == "failed" for run in runs for _, status in statuses(run))
    yield (
        "diagnosers that could not look and do not say why, or failed: none",
        f"{silent + failed}",
        silent + failed == 0,
    )


BLIND = ("skipped", "not_applicable")


def statuses(run: Trial) -> list[tuple[str, str]]:
    """(diagnoser, status) over the whole run."""
    return list(run.outcomes[WHOLE]["faces"].items())


def of_kind(runs: list[Trial]) -> tuple[list[Trial], list[Trial]]:
    """(healthy, faulty)."""
    return [run for run in runs if run.experiment.fault is None], [run for run in runs if run.experiment.fault]


def judged(found: Share, met: bool) -> tuple[str, bool | None]:
    """A share as text, and whether its bar is met; None of no runs."""
    return str(found), met if found.runs else None


def bar_table(runs: list[Trial]) -> str:
    """The bars of both halves."""
    by_half = {half: list(bars(in_half(runs, half))) for half in HALVES}
    rows = [
        [bar, *(f"{WORDS[met]}{figure}" for _, figure, met in cells)]
        for bar, cells in zip((row[0] for row in by_half[HALVES[0]]), zip(*by_half.values(), strict=True), strict=True)
    ]
    return markdown(["bar", *HALVES], rows)


def fault_table(runs: list[Trial]) -> str:
    """A row for each kind of fault."""
    healthy, faulty = of_kind(runs)
    rows = []
    for kind in sorted({run.experiment.fault.fault for run in faulty if run.experiment.fault}):
        mine = [run for run in faulty if run.experiment.fault and run.experiment.fault.fault == kind]
        waited = [count for run in mine if (count := figures.steps_until_found(run)) is not None]
        paid = [value for value in figures.costs(mine, healthy) if not math.isnan(value)]
        rows.append([
            kind,
            str(len({run.experiment.name for run in mine})),
            fraction(mine, figures.found),
            fraction(mine, lambda run: figures.found(run, ALARMS)),
            fraction(mine, figures.root_first),
            f"{median(waited):.0f}" if waited else "",
            f"{as_cost(min(paid))} to {as_cost(max(paid))}" if paid else "",
        ])  # fmt: skip
    names = ["fault", "configurations", "found", "as a warning or worse", "root first", "steps until found", "cost"]
    return markdown(names, rows)


def as_cost(value: float) -> str:
    """A share of the attainable loss reduction; what is worse than learning nothing is "all"."""
    return f"{max(0.0, value):.0%}" if value < 1 else "all"


def diagnoser_table(runs: list[Trial]) -> str:
    """A row for each diagnoser."""
    healthy, faulty = of_kind(runs)
    rows = []
    for name in sorted({name for run in runs for name, _ in statuses(run)}):
        mine = [run for run in faulty if run.experiment.fault and name in run.experiment.fault.accepted]
        blind = sum(dict(statuses(run)).get(name) == "skipped" for run in runs)
        seconds = [run.outcomes[WHOLE]["seconds"].get(name, math.nan) for run in runs]
        rows.append([
            f"`{name}`",
            fraction(mine, lambda run, name=name: name in run.fired(ANY)),
            fraction(mine, lambda run, name=name: name in run.fired(ALARMS)),
            fraction(healthy, lambda run, name=name: name in run.fired(ALARMS)),
            fraction(healthy, lambda run, name=name: name in run.fired(("note",))),
            f"{blind} of {len(runs)}",
            f"{median(seconds):.3f}",
        ])  # fmt: skip
    names = ["diagnoser", "fired where accepted", "as a warning or worse", "false alarms", "notes on healthy runs",
             "could not look", "seconds"]  # fmt: skip
    return markdown(names, rows)


def alarms_list(runs: list[Trial]) -> str:
    """Every false alarm and every miss by configuration, for who mends a diagnoser; of one half."""
    healthy, faulty = of_kind(runs)
    lines = [
        f"- false alarm: {run.experiment.name} seed {run.seed}: `{name}` {item['severity']}: {item['headline']}"
        for run in healthy
        for name, items in run.outcomes[WHOLE]["findings"].items()
        for item in items
        if item["severity"] in ALARMS
    ]
    for count in ("50", "100"):
        lines += [
            f"- false alarm after {count} steps: {run.experiment.name} seed {run.seed}: {', '.join(sorted(early))}"
            for run in healthy
            if (early := run.fired(ALARMS, count) - run.fired(ALARMS))
        ]
    for run in faulty:
        fired = ", ".join(sorted(run.fired(ANY))) or "nothing"
        if not figures.found(run):
            lines.append(f"- missed: {run.experiment.name} seed {run.seed}; fired: {fired}")
        elif not figures.found(run, ALARMS):
            lines.append(f"- only a note: {run.experiment.name} seed {run.seed}; fired: {fired}")
        elif not figures.root_first(run):
            lines.append(
                f"- root not first: {run.experiment.name} seed {run.seed}: {run.outcomes[WHOLE]['ranked'][0][0]}"
            )
    failed = {(name, run.experiment.name) for run in runs for name, status in statuses(run) if status == "failed"}
    return "\n".join([*lines, *(f"- failed: {name} on {where}" for name, where in sorted(failed))])


def in_half(runs: list[Trial], half: str) -> list[Trial]:
    """The runs of one half."""
    return [run for run in runs if run.experiment.half == half]


def fraction(runs: list[Trial], hit: Callable[[Trial], bool]) -> str:
    """ "3 of 9", or nothing of nothing."""
    return f"{sum(map(hit, runs))} of {len(runs)}" if runs else ""


def markdown(names: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [names, ["---"] * len(names), *rows])


def block(runs: list[Trial]) -> str:
    """The dated block of RESULTS.md."""
    counts = ", ".join(
        f"{len({run.experiment.name for run in of_kind(in_half(runs, half))[kind]})} {word} {half}"
        for half in HALVES
        for kind, word in enumerate(("healthy", "faulty"))
    )
    parts = [
        f"### {date.today().isoformat()}, definitions of commit {definitions_commit()}",
        f"Configurations: {counts}; {len(runs)} runs in all. {update_ratio(runs)}",
        not_there(),
        older(runs),
        not_learned(runs),
        bar_table(runs),
    ]
    for half in HALVES:
        if mine := in_half(runs, half):
            parts += [f"Faults, {half}:", fault_table(mine), f"Diagnosers, {half}:", diagnoser_table(mine)]
    return "\n\n".join(filter(None, parts)) + "\n"


def update_ratio(runs: list[Trial]) -> str:
    """How long all diagnosers together take."""
    seconds = [sum(run.outcomes[WHOLE]["seconds"].values()) for run in runs]
    return (
        f"All diagnosers take {median(seconds):.2f} s for a run (median), {max(seconds):.2f} s at most." if runs else ""
    )


def not_there() -> str:
    """The runs that are in no figure."""
    lacking = figures.missing()
    told = ", ".join(lacking[:20]) + (f" and {len(lacking) - 20} more" if len(lacking) > 20 else "")
    return f"In no figure, since they were not recorded, read or analyzed: {told}." if lacking else ""


def older(runs: list[Trial]) -> str:
    """How many runs another recorder recorded than the one that is there: new diagnosers may lack what they look at."""
    now = record.recorder_key()
    count = sum(not record.is_recorded(run.experiment, run.seed, now) for run in runs)
    return f"{count} of these runs were recorded by an earlier recorder." if count else ""


def not_learned(runs: list[Trial]) -> str:
    """The healthy runs that are none by their losses; they stay in the figures."""
    why = {f"{run.experiment.name} seed {run.seed}": why_not_learned(run.losses) for run in of_kind(runs)[0]}
    told = "; ".join(f"{name}: {reason}" for name, reason in why.items() if reason)
    return f"Healthy runs that did not learn by their losses, and count all the same: {told}." if told else ""


@click.command()
@click.option("--write", is_flag=True, help="Append the tables to benchmarks/RESULTS.md, or replace those of today.")
@click.option("--details", is_flag=True, help="Print every false alarm and miss of the development half.")
def main(write: bool, details: bool) -> None:
    """Print the tables over every run that is recorded and analyzed."""
    runs = figures.trials()
    text = block(runs)
    click.echo(text)
    if details:
        click.echo(alarms_list(in_half(runs, "development")))
    if write:
        keep(text)


if __name__ == "__main__":
    main()
