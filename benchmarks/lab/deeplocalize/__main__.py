"""Records both programs of every pair at default flags, and says of each what is found first."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.lab.analyze import outcomes_of
from benchmarks.lab.deeplocalize.pairs import PAIRS, Pair
from benchmarks.lab.losses import CLEARLY
from benchmarks.lab.record import LAB, ROOT, recorder_key
from gradaudit.reading.run import load

_PRINTED = re.compile(r"^(constant|final) (\S+)$", re.MULTILINE)
ALARMS = {"critical", "warning"}


@dataclass(frozen=True)
class Judged:
    """One recorded program: its losses, and its findings of a warning or worse in the order of the report."""

    constant: float
    final: float
    alarms: tuple[str, ...]
    first: str

    @property
    def learned(self) -> bool:
        """Whether it ends clearly below the best constant prediction."""
        return self.final < self.constant - CLEARLY * abs(self.constant)


def record(pair: Pair, seed: int, *, faulty: bool) -> Path:
    """Record one program, unless it was recorded by this recorder; returns its folder."""
    folder = LAB / "deeplocalize" / pair.name / ("faulty" if faulty else "repaired") / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    script, done = folder / "train.py", folder / "recorded.json"
    text = pair.text(faulty=faulty)
    if done.exists() and json.loads(done.read_text()) == {"text": text, "recorder": recorder_key()}:
        return folder
    script.write_text(text, encoding="utf-8")
    options = ["--no-host", "--quiet", "--force", "-o", str(folder / "run")]
    command = [sys.executable, "-m", "gradaudit", "record", *options, str(script), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "printed.txt").open("w") as printed:
        subprocess.run(command, cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT, check=True)
    done.write_text(json.dumps({"text": text, "recorder": recorder_key()}))
    return folder


def judge(folder: Path) -> Judged:
    """Analyze one recorded program."""
    printed = dict(_PRINTED.findall((folder / "printed.txt").read_text()))
    outcomes = outcomes_of(load(folder / "run"))
    ranked = outcomes["ranked"]
    return Judged(
        constant=float(printed["constant"]),
        final=float(printed["final"]),
        alarms=tuple(name for name, found in outcomes["findings"].items() if {f["severity"] for f in found} & ALARMS),
        first=ranked[0][0] if ranked else "",
    )


def _losses(judged: Judged) -> tuple[str, str]:
    return f"{judged.constant:.4g}", f"{judged.final:.4g}"


def rows(pairs: list[Pair], seed: int) -> list[str]:
    """A line of the table for each pair, and the sums."""
    lines, found, silent = [], 0, 0
    for pair in pairs:
        faulty, repaired = (judge(record(pair, seed, faulty=faulty)) for faulty in (True, False))
        right = faulty.first in pair.root
        found, silent = found + right, silent + (not repaired.alarms)
        cells = (
            pair.post, pair.wrong, *_losses(faulty), faulty.first or "nothing", "yes" if right else "no",
            *_losses(repaired), ", ".join(repaired.alarms) or "silent",
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |")
        click.echo(lines[-1])
        if not repaired.learned:
            click.echo(f"not healthy: the repaired {pair.post} has not learned")
    return [*lines, f"Seed {seed}: found first {found} of {len(pairs)}, repaired silent {silent} of {len(pairs)}."]


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True)
@click.argument("posts", nargs=-1, type=int)
def main(seeds: int, posts: tuple[int, ...]) -> None:
    """Record and judge the pairs of POSTS, or all."""
    pairs = [pair for pair in PAIRS if not posts or pair.post in posts]
    for seed in range(seeds):
        click.echo(rows(pairs, seed)[-1])


if __name__ == "__main__":
    main()
