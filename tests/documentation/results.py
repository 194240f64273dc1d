"""Figures that were measured: what recording costs, and how often a finding is right."""

import re
from pathlib import Path

from gradaudit.audit.base_rates import laboratory
from gradaudit.findings import Severity

RESULTS = Path(__file__).parents[2] / "benchmarks" / "RESULTS.md"
# Column of the table in README: row of the tables in RESULTS.md.
COLUMNS = {
    "gradaudit, default": "gradaudit, default",
    "gradaudit, every step": "gradaudit, every step",
    '`wandb.watch(log="all")`, every step': "wandb.watch(all), each step",
    "the same, every 100th": "wandb.watch(all), log_freq=100",
    "TensorBoard histograms, every step": "TensorBoard histograms",
}


def cost_block() -> str:
    """The newest table of what recording costs: the CPU time of a step over that of the bare step."""
    text = RESULTS.read_text(encoding="utf-8")
    date, newest = re.findall(r"^### (\S+), every column\n(.*?)(?=^### |^## |\Z)", text, re.MULTILINE | re.DOTALL)[-1]
    rows = []
    for model, part in re.findall(r"^#### (.+?)\n(.*?)(?=^#### |\Z)", newest, re.MULTILINE | re.DOTALL):
        bare = re.search(r"a bare step takes ([\d.]+) ms", part)
        if bare:
            cells = [
                _added(re.search(rf"^\| {re.escape(row)} \| ([\d.]+)x", part, re.MULTILINE)) for row in COLUMNS.values()
            ]
            rows.append(f"| {model} | {float(bare[1]):.3g} ms | {' | '.join(cells)} |")
    head = ["model, parameters", "bare step", *COLUMNS]
    table = [f"| {' | '.join(head)} |", f"|---|{'---|' * (len(head) - 1)}", *rows]
    return "\n".join([f"Added CPU time a step, measured {date} on 2 cores of a virtual machine:", "", *table])


def _added(ratio: re.Match[str] | None) -> str:
    """The CPU time that a column adds to a step, in percent of the bare step, to three digits."""
    assert ratio
    percent = (float(ratio[1]) - 1) * 100
    return f"+{float(f'{percent:.3g}'):,.{0 if percent >= 10 else 1}f} %"


def base_rates_block() -> str:
    """How often each diagnoser spoke up in the laboratory, as a warning or worse."""
    figures = laboratory()
    rows = []
    for name, tally in figures.diagnosers.items():
        if tally is None:
            rows.append(f"| [`{name}`](diagnosers/{name}.md) | not measured yet | | |")
            continue
        warned, noted = (tally.healthy[one] for one in (Severity.WARNING, Severity.NOTE))
        healthy = (
            (f"{warned} of {tally.healthy_runs}", f"{noted - warned} of {tally.healthy_runs}")
            if tally.healthy_runs
            else ("no healthy run had what it looks at", "")
        )
        faulty = (
            f"{tally.faulty[Severity.NOTE]} of {tally.faulty_runs}" if tally.faulty_runs else "no run had this fault"
        )
        rows.append(f"| [`{name}`](diagnosers/{name}.md) | {healthy[0]} | {healthy[1]} | {faulty} |")
    measured = f"{figures.healthy_runs} healthy and {figures.faulty_runs} faulty trainings, {figures.date}"
    head = [
        f"<details>\n<summary>Every diagnoser over {measured}</summary>",
        "",
        "| diagnoser | warning or worse in healthy runs | note in healthy runs | found in runs with its fault |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, "", "</details>"])
