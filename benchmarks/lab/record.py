"""Records every training of the laboratory under `gradaudit record`, as a user would; goes on where it stopped."""

import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import click

from benchmarks.lab.configuration import HALVES
from benchmarks.lab.experiments import Experiment, chosen
from benchmarks.lab.losses import parse, why_not_learned

ROOT = Path(__file__).parents[2]
LAB = ROOT / "build" / "lab"
PRETRAINING = Path(__file__).parent / "pretraining"
LIMIT = 3600  # s; a script takes 2 to 8 alone, and on a busy machine, at the lowest priority, a hundred times that
SEEDS = 3


def folder_of(name: str, seed: int) -> Path:
    """The folder of one run: train.py, run/, printed.txt and recorded.json, written last."""
    return LAB / "runs" / name / f"seed{seed}"


@cache
def sources_of(*places: str) -> str:
    """A hash of the source files below these places of the package, as they were when first asked for."""
    files = [file for place in places for file in sorted((ROOT / "gradaudit").glob(place))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def key_of(experiment: Experiment) -> str:
    """Changes with the script, and with the checkpoint that it starts from."""
    pretrained = [file.read_text() for file in sorted(PRETRAINING.glob("*.py")) if _checkpoint(file) in experiment.text]
    return hashlib.sha256("\0".join([experiment.text, *pretrained]).encode()).hexdigest()[:16]


def recorder_key() -> str:
    """Changes with the recorder, and with what it records."""
    return sources_of("record/**/*.py", "schema.py")


def is_recorded(experiment: Experiment, seed: int, recorder: str = "") -> bool:
    """Whether this run exists, whole, of this script; and by this recorder, where one is named."""
    try:
        found = json.loads((folder_of(experiment.name, seed) / "recorded.json").read_text())
    except FileNotFoundError:
        return False
    return bool(found["key"] == key_of(experiment) and recorder in ("", found["recorder"]))


def recording(folder: Path) -> str:
    """What tells the recording in `folder` from any other of this training: its script and its recorder."""
    found = json.loads((folder / "recorded.json").read_text())
    return f"{found['key']}-{found['recorder']}"


def record(experiment: Experiment, seed: int) -> dict[str, object]:
    """Record one run and return what recorded.json says of it.

    A run beyond `LIMIT`, or that a signal ended, is not recorded: no training of the laboratory ends by one.
    """
    folder = folder_of(experiment.name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recorded.json").unlink(missing_ok=True)
    script = folder / "train.py"
    script.write_text(experiment.text, encoding="utf-8")
    options = ["--no-host", "--quiet", "--force", "-o", str(folder / "run")]
    command = [sys.executable, "-m", "gradaudit", "record", *options, str(script), str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    with (folder / "printed.txt").open("w") as printed:
        try:
            # The scripts read checkpoints/ from where they are started.
            done = subprocess.run(
                command, cwd=LAB, env=environment, stdout=printed, stderr=subprocess.STDOUT, timeout=LIMIT, check=False
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            return {"exit_code": -1, "seconds": LIMIT}
    seconds = round(time.monotonic() - began, 2)
    found = {"key": key_of(experiment), "recorder": recorder_key(), "exit_code": code, "seconds": seconds}
    if code >= 0:
        (folder / "recorded.json").write_text(json.dumps(found))
    return found


def pretrain(experiments: list[Experiment]) -> None:
    """Write the checkpoints that these start from and that are missing or whose script has changed."""
    for script in sorted(PRETRAINING.glob("*.py")):
        if not any(_checkpoint(script) in item.text for item in experiments):
            continue
        checkpoint, copy = LAB / _checkpoint(script), LAB / "checkpoints" / script.name
        if checkpoint.exists() and copy.exists() and copy.read_text() == script.read_text():
            continue
        click.echo(f"pretraining {script.stem}")
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, script], cwd=LAB, check=True, stdout=subprocess.DEVNULL)
        copy.write_text(script.read_text())


def _checkpoint(script: Path) -> str:
    return f"checkpoints/{script.stem}.pt"


def record_all(experiments: list[Experiment], seeds: int, jobs: int, *, again: bool = False, old: bool = False) -> None:
    """Record what is missing, `jobs` at a time; prints a line a run, and at the end what did not go well.

    What another recorder recorded is recorded anew, unless `old` runs are to stay. One seed of all comes before the
    next: what was stopped early has every training.
    """
    LAB.mkdir(parents=True, exist_ok=True)
    pretrain(experiments)
    recorder = "" if old else recorder_key()
    wanted = [
        (item, seed) for seed in range(seeds) for item in experiments if again or not is_recorded(item, seed, recorder)
    ]
    troubles, done = [], 0
    click.echo(f"{len(wanted)} of {len(experiments) * seeds} runs to record")
    with ThreadPoolExecutor(jobs) as pool:
        for (item, seed), found in zip(wanted, pool.map(lambda pair: record(*pair), wanted), strict=True):
            done += 1
            losses = parse((folder_of(item.name, seed) / "printed.txt").read_text())
            click.echo(
                f"[{done:4d}/{len(wanted)}] {item.name} seed {seed}: {found['seconds']} s, held-out loss "
                f"{losses.reached:.4g}, constant {losses.constant:.4g}"
            )
            if found["exit_code"] != 0 and item.fault is None:
                troubles.append(f"{item.name} seed {seed}: exit code {found['exit_code']}")
            elif item.fault is None and (why := why_not_learned(losses)):
                troubles.append(f"{item.name} seed {seed}: {why}")
    for trouble in troubles:
        click.echo(f"not healthy: {trouble}")


@click.command()
@click.option("--half", type=click.Choice([*HALVES, "all"]), default="all", show_default=True)
@click.option("--kind", type=click.Choice(["healthy", "faulty", "all"]), default="all", show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=SEEDS, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--again", is_flag=True, help="Record also what is recorded already.")
@click.option("--old", is_flag=True, help="Leave what another recorder recorded: only the diagnosers have changed.")
@click.argument("names", nargs=-1)
def main(half: str, kind: str, seeds: int, jobs: int, again: bool, old: bool, names: tuple[str, ...]) -> None:
    """Record the trainings called NAMES, or all."""
    record_all(chosen(half, kind, names), seeds, jobs, again=again, old=old)


if __name__ == "__main__":
    main()
