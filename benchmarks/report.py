"""What a page costs: drawing it, and looking at it in headless Chromium.

The page is that of the tests' transformer: 149 tensors, 2,000 steps, a finding of every kind. It is drawn from its
audit in a process of its own. CPU time and the greatest resident memory count from the start of Python on, imports
included; the first paint counts from the start of the navigation, the heap is what the page's script holds then.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click

from benchmarks import memory
from gradaudit.report import json_file
from gradaudit.report.html import report_page

ROUNDS, VISITS = 3, 7
SETTLED = 300  # ms after which a page has done what it does by itself


class Budget(NamedTuple):
    """What one figure may be."""

    what: str
    most: float
    unit: str
    digits: int


BUDGETS = {
    "seconds": Budget("drawing the page, CPU time", 4, "s", 2),
    "mebibytes": Budget("drawing the page, peak memory", 350, "MiB", 0),
    "kilobytes": Budget("size of the page", 600, "KB", 0),
    "paint": Budget("first paint in Chromium", 0.5, "s", 2),
    "heap": Budget("JavaScript heap", 5, "MB", 1),
}


def write_audit(folder: Path) -> Path:
    """Record the run, and write its audit as JSON."""
    from tests.report.sample import sample_audit, sample_run

    file = folder / "audit.json"
    file.write_text(json_file.render(sample_audit(sample_run(folder / "run"))), encoding="utf-8")
    return file


def drawn(file: Path) -> None:
    """Draw the page of an audit in this process, write it beside the audit, and print what it took as JSON."""
    page = report_page.render(json_file.read(file)).encode()
    took = {"seconds": time.process_time(), "mebibytes": memory.peak(), "kilobytes": len(page) / 1000}
    file.with_suffix(".html").write_bytes(page)
    click.echo(json.dumps(took))


def measure(file: Path, rounds: int = ROUNDS) -> dict[str, float]:
    """What drawing took: the medians over so many processes, and the greatest memory."""
    command = [sys.executable, "-m", "benchmarks.report", str(file)]
    found = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(rounds)
    ]
    medians = {name: statistics.median(each[name] for each in found) for name in found[0]}
    return medians | {"mebibytes": max(each["mebibytes"] for each in found)}


def look(page: Path, visits: int = VISITS) -> dict[str, float]:
    """What looking takes: the medians over so many visits, each in a tab of its own. Empty without Chromium."""
    from playwright.sync_api import sync_playwright

    from tests.report.chromium import SWITCHES, executable

    program = executable()
    if program is None:
        return {}
    found = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        for _ in range(visits + 1):
            context = chromium.new_context(viewport={"width": 1280, "height": 900})
            tab = context.new_page()
            measured = context.new_cdp_session(tab)
            measured.send("Performance.enable")
            tab.goto(page.as_uri())
            tab.wait_for_timeout(SETTLED)
            paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            metrics = {each["name"]: each["value"] for each in measured.send("Performance.getMetrics")["metrics"]}
            found.append({"paint": paint / 1000, "heap": metrics["JSHeapUsedSize"] / 1e6})
            context.close()
        chromium.close()
    # The first visit also starts the browser's own processes.
    return {name: statistics.median(each[name] for each in found[1:]) for name in found[0]}


def table(took: dict[str, float]) -> str:
    """The figures beside what they may be, as Markdown."""
    lines = ["| figure | at most | measured |", "|---|---|---|"]
    for name, budget in BUDGETS.items():
        measured = f"{took[name]:.{budget.digits}f} {budget.unit}" if name in took else "no Chromium is installed"
        lines.append(f"| {budget.what} | {budget.most:g} {budget.unit} | {measured} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        drawn(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            audit = write_audit(Path(temporary))
            click.echo(table(measure(audit) | look(audit.with_suffix(".html"))))
