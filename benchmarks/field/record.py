"""Records the programs as a user would, at default flags, and analyzes them; goes on where it stopped."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from benchmarks.field.catalogue import Program
from benchmarks.lab.record import ROOT, recorder_key, sources_of

BUILD = ROOT / "build" / "field"
LIMIT = 900  # s; a program takes 2 to 10 alone
ROOMS = ("reading", "signals", "evidence", "diagnosers", "audit")  # what a verdict depends on
RESULT = re.compile(r"^result (\S+)$", re.MULTILINE)


def folder_of(program: Program, seed: int) -> Path:
    """The folder of one run: train.py, run/, printed.txt, recorded.json, audit.json and analyzed.json."""
    return BUILD / "runs" / program.folder / f"seed{seed}"


def environment() -> dict[str, str]:
    """That of a program: one thread, and this repository's package."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def recorded_as(program: Program) -> dict[str, str]:
    """What tells this recording from any other of this program."""
    return {"text": hashlib.sha256(program.text.encode()).hexdigest()[:16], "recorder": recorder_key()}


def analyzed_as(program: Program) -> dict[str, str]:
    """What tells this analysis from any other of this recording."""
    return {**recorded_as(program), "analysis": sources_of("*.py", *(f"{room}/**/*.py" for room in ROOMS))}


def _is(path: Path, wanted: dict[str, str]) -> bool:
    try:
        return bool(json.loads(path.read_text()) == wanted)
    except FileNotFoundError:
        return False


def is_analyzed(program: Program, seed: int) -> bool:
    """Whether there is an audit of this program as it is, by whatever recorder and diagnosers."""
    folder = folder_of(program, seed)
    try:
        found = json.loads((folder / "analyzed.json").read_text())
    except FileNotFoundError:
        return False
    return bool(found["text"] == recorded_as(program)["text"])


def run(program: Program, seed: int) -> str:
    """Record and analyze one program where it was not; returns what went wrong, or nothing."""
    folder = folder_of(program, seed)
    folder.mkdir(parents=True, exist_ok=True)
    gradaudit = [sys.executable, "-m", "gradaudit"]
    if not _is(folder / "recorded.json", recorded_as(program)):
        (folder / "train.py").write_text(program.text, encoding="utf-8")
        options = ["--no-host", "--quiet", "--force", "-o", "run"]
        if code := _done([*gradaudit, "record", *options, "train.py", str(seed)], folder, "printed.txt"):
            return f"exit code {code}: {_last_line(folder / 'printed.txt')}"
        (folder / "recorded.json").write_text(json.dumps(recorded_as(program)))
    if not _is(folder / "analyzed.json", analyzed_as(program)):
        if code := _done([*gradaudit, "analyze", "--format", "json=audit.json", "run"], folder, "analyzed.txt"):
            return f"not analyzed, exit code {code}: {_last_line(folder / 'analyzed.txt')}"
        (folder / "analyzed.json").write_text(json.dumps(analyzed_as(program)))
    return ""


def bare(program: Program, seed: int) -> float:
    """The result of a program that nobody records. Raises RuntimeError where it prints none."""
    command = [sys.executable, "-c", program.text, str(seed)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False)
    if not (found := RESULT.search(done.stdout)):
        raise RuntimeError(f"{program.folder} printed no result: {done.stderr[-300:]}")
    return float(found[1])


def run_all(programs: list[Program], seeds: int, jobs: int) -> list[str]:
    """Run what is missing, `jobs` at a time, a line each; returns what did not go well."""
    wanted = [(program, seed) for seed in range(seeds) for program in programs]
    return list(_troubles(wanted, jobs))


def _troubles(wanted: list[tuple[Program, int]], jobs: int) -> Iterator[str]:
    with ThreadPoolExecutor(jobs) as pool:
        for (program, seed), trouble in zip(wanted, pool.map(lambda one: run(*one), wanted), strict=True):
            said = f"{program.folder} seed {seed}: {trouble or printed(program, seed)}"
            click.echo(said, err=True)
            if trouble:
                yield said


def printed(program: Program, seed: int) -> str:
    """The result that the recorded program printed."""
    found = RESULT.search((folder_of(program, seed) / "printed.txt").read_text())
    return found[1] if found else "no result"


def _done(command: list[str], folder: Path, log: str) -> int:
    with (folder / log).open("w") as output:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1
    return done.returncode


def _last_line(path: Path) -> str:
    lines = path.read_text().strip().splitlines()
    return lines[-1] if lines else "no output"
