"""Gives the recorded trainings to other tools and tabulates their alarms beside ours; goes on where it stopped."""

import json
import math
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import click
import pandas

from benchmarks.lab import figures, record, thresholds
from benchmarks.lab.configuration import HALVES
from benchmarks.lab.experiments import Experiment, chosen
from benchmarks.lab.figures import Share, Trial, share
from benchmarks.lab.results import keep
from benchmarks.lab.table import in_half, markdown, of_kind
from gradaudit.reading.run import Run, load

ENVIRONMENT = record.LAB / "peers"
PYTHON = ENVIRONMENT / "bin" / "python"
# What they need beside torch, numpy and pandas, which are those of this environment.
PACKAGES = ("torchmortem==0.1.1", "torch-audit==0.3.0", "neural-observatory==0.5.1", "gradsnitch==0.1.0",
            "runmedic==0.1.1", "plotly>=6")  # fmt: skip
LIVE = ("torchmortem", "torch-audit", "neural-observatory")
LOGS = ("gradsnitch", "runmedic")
LIMIT = 300  # s
ALARMING = {"warning", "error", "critical", "warn", "fatal", "fired"}
# torch-audit also lints for speed (TA2..) and style (TA40.): no statement on whether the run trains.
NOT_COUNTED = ("TA2", "TA400", "TA401", "TA402", "TA403", "TA404")
OURS = "gradaudit"


def install() -> None:
    """An environment that sees this one's torch and holds the tools."""
    if PYTHON.exists():
        return
    subprocess.run([sys.executable, "-m", "venv", ENVIRONMENT], check=True)
    (site,) = ENVIRONMENT.glob("lib/python*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "this_environment.pth").write_text("\n".join(here) + "\n")
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)


def scalar_log(run: Run) -> pandas.DataFrame:
    """What a user would have logged of the first optimizer: a row a step."""
    training = run.trainings[0]
    steps = training.steps
    log = pandas.DataFrame({"step": steps["global_step"], "train_loss": steps["objective"]})
    log["grad_norm"], log["lr"] = steps["gradient_norm"], steps["learning_rate"].str[0]
    updates, weights = (training.matrix(stat) for stat in ("update_norm", "weight_norm"))
    ratio = ((updates**2).sum(axis=1) / (weights**2).sum(axis=1)) ** 0.5
    log["update_ratio"] = steps["step"].map(dict(zip(training.recorded.tolist(), ratio, strict=True)))
    held_out = run.evaluations.drop_duplicates("after_step").set_index("after_step")["mean_loss"]
    log["val_loss"] = log["step"].map(held_out)
    return log


def ask_logs(folders: list[Path]) -> None:
    """Write what the readers of logs and the bare thresholds say of each run to its peers.json."""
    for folder in folders:
        run = load(folder / "run")
        scalar_log(run).to_csv(folder / "log.csv", index=False)
        for tool, rules in thresholds.fired(run).items():
            _keep(folder, tool, {"found": [(rule, "fired") for rule in rules]})
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("peers_logs.py")],
        input="\n".join(str(folder / "log.csv") for folder in folders), capture_output=True, text=True, check=True,
    )  # fmt: skip
    for line in done.stdout.splitlines():
        said = json.loads(line)
        for tool in LOGS:
            _keep(Path(said["file"]).parent, tool, said[tool])


def trains_here(script: str) -> bool:
    """Whether the script trains in the process that runs it: a tool that lives there sees no spawned rank."""
    return "mp.spawn(" not in script


def ask_live(folder: Path, tool: str) -> None:
    """Train once more under `tool` and write what it found, or its error."""
    command = [str(PYTHON), str(Path(__file__).with_name("peers_live.py")), tool, str(folder / "train.py")]
    seed = folder.name.removeprefix("seed")
    try:
        done = subprocess.run(
            [*command, seed], cwd=record.LAB, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        lines = done.stdout.splitlines() if done.returncode == 0 else done.stderr.splitlines()
        _keep(folder, tool, json.loads(lines[-1]) if done.returncode == 0 else {"error": lines[-1] if lines else "?"})
    except subprocess.TimeoutExpired:
        _keep(folder, tool, {"error": f"not done after {LIMIT} s"})


def _keep(folder: Path, tool: str, said: dict[str, Any]) -> None:
    file, key = folder / "peers.json", record.recording(folder)
    kept = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**kept, tool: {**said, "key": key}}))


def said_of(folder: Path) -> dict[str, dict[str, Any]]:
    """What each tool said of the run as it is recorded now."""
    try:
        kept, key = json.loads((folder / "peers.json").read_text()), record.recording(folder)
    except FileNotFoundError:
        return {}
    return {tool: said for tool, said in kept.items() if said["key"] == key}


def alarms(said: dict[str, Any]) -> set[str]:
    """The rules that raised an alarm, a note not being one."""
    return {rule for rule, severity in said.get("found", ())
            if severity.lower() in ALARMING and not rule.startswith(NOT_COUNTED)}  # fmt: skip


def compared(runs: list[Trial]) -> str:
    """A row for each tool: false alarms and alarms on faulty runs, ours over all analyzed runs."""
    folders = {id(run): said_of(record.folder_of(run.experiment.name, run.seed)) for run in runs}
    tools = sorted({tool for said in folders.values() for tool in said})
    rows = []
    for tool in (OURS, *tools):
        row = [tool]
        for half in HALVES:
            mine = [run for run in in_half(runs, half) if tool == OURS or "found" in folders[id(run)].get(tool, {})]
            healthy, faulty = of_kind(mine)

            def alarmed(run: Trial, tool: str = tool) -> bool:
                return figures.false_alarm(run) if tool == OURS else bool(alarms(folders[id(run)][tool]))

            row += [_percent(share(healthy, alarmed)), _percent(share(faulty, alarmed))]
        rows.append(row)
    errors = Counter(
        (tool, said["error"]) for kept in folders.values() for tool, said in kept.items() if "error" in said
    )
    quoted = [f"- {tool} did not run on {count} runs: `{error}`" for (tool, error), count in sorted(errors.items())]
    names = [f"{half}, {kind}" for half in HALVES for kind in ("healthy", "faulty")]
    return "\n".join([markdown(["alarms of", *names], rows), "", *quoted])


def rule_table(runs: list[Trial]) -> str:
    """A row for each rule of each tool: on how many healthy and faulty runs it raised an alarm."""
    fired: dict[tuple[str, str], list[Trial]] = {}
    for run in runs:
        for tool, said in said_of(record.folder_of(run.experiment.name, run.seed)).items():
            for rule in alarms(said):
                fired.setdefault((tool, rule), []).append(run)
    rows = [[tool, rule, *(str(len(kind)) for kind in of_kind(mine))] for (tool, rule), mine in sorted(fired.items())]
    return markdown(["tool", "rule", "healthy runs", "faulty runs"], rows)


def _percent(found: Share) -> str:
    return "" if math.isnan(found.value) else f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%}) of {found.runs}"


@click.command()
@click.option("--half", type=click.Choice([*HALVES, "all"]), default="all", show_default=True)
@click.option("--kind", type=click.Choice(["healthy", "faulty", "all"]), default="all", show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--live-seeds", type=click.IntRange(min=0), default=1, show_default=True,
              help="Seeds that are trained again under the tools that need it.")  # fmt: skip
@click.option("--write", is_flag=True, help="Keep the tables in benchmarks/RESULTS.md.")
@click.argument("names", nargs=-1)
def main(half: str, kind: str, jobs: int, live_seeds: int, write: bool, names: tuple[str, ...]) -> None:
    """Ask the other tools about the recorded trainings called NAMES, or all, and print what they said."""
    install()
    experiments: list[Experiment] = chosen(half, kind, names)
    recorded = [
        folder
        for item in experiments
        for folder in sorted((record.LAB / "runs" / item.name).glob("seed*"))
        if record.is_recorded(item, int(folder.name.removeprefix("seed")))
    ]
    known = {folder: said_of(folder) for folder in recorded}
    logs = [folder for folder in recorded if not set(LOGS) <= set(known[folder])]
    click.echo(f"{len(logs)} of {len(recorded)} runs for the readers of logs")
    if logs:
        ask_logs(logs)
    seeds = {f"seed{seed}" for seed in range(live_seeds)}
    watched = [folder for folder in recorded if folder.name in seeds and trains_here((folder / "train.py").read_text())]
    live = [(folder, tool) for folder in watched for tool in LIVE if tool not in known[folder]]
    click.echo(f"{len(live)} trainings under {', '.join(LIVE)}")

    def one_folder(folder: Path) -> None:
        for of, tool in live:
            if of == folder:
                ask_live(folder, tool)

    with ThreadPoolExecutor(jobs) as pool:
        for done, _ in enumerate(pool.map(one_folder, dict.fromkeys(folder for folder, _ in live)), 1):
            if done % 10 == 0:
                click.echo(f"[{done}] configurations")
    runs = figures.trials()
    head = f"### {date.today().isoformat()}, other tools on the same runs"
    text = "\n\n".join(
        [head, compared(runs), "Their rules, by the runs on which each raised an alarm:", rule_table(runs)]
    )
    click.echo(text)
    if write:
        keep(text + "\n")


if __name__ == "__main__":
    main()
