"""Gives scalar logs to the tools that read such logs, and prints what they found as a line of JSON for each log.

    python peers_logs.py < names of CSV files, one a line

Runs in an environment of its own, so it imports nothing of gradaudit. The columns are step, train_loss, val_loss, lr,
grad_norm and update_ratio.
"""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path


def gradsnitch(file: str) -> list[tuple[str, str]]:
    """`gradsnitch.lint_csv`; its rules say "error" and "warning"."""
    from gradsnitch import lint_csv

    return [(f"{item.code} {item.name}", item.severity) for item in lint_csv(file)]


def runmedic(file: str) -> list[tuple[str, str]]:
    """What `runmedic diagnose FILE` prints."""
    from runmedic import loaders, roles
    from runmedic.checks import run_checks

    (run,) = loaders.load(str(Path(file)))
    return [(item.check, item.severity) for item in run_checks(run, roles.detect(run))]


TOOLS: dict[str, Callable[[str], list[tuple[str, str]]]] = {"gradsnitch": gradsnitch, "runmedic": runmedic}


def main() -> None:
    """Print {"file", TOOL: {"version", "found"} or {"version", "error"}} for each file."""
    for line in sys.stdin:
        file, said = line.strip(), {}
        for name, tool in TOOLS.items():
            try:
                said[name] = {"version": version(name), "found": sorted(set(tool(file)))}
            except Exception as error:  # a tool that breaks on a log is a result
                said[name] = {"version": version(name), "error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"file": file, **said}), flush=True)


if __name__ == "__main__":
    main()
