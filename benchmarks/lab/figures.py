"""What the outcomes come to: found, false alarms, the root first, with intervals over configurations."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.lab import losses, record
from benchmarks.lab.analyze import CUTS, WHOLE, analysis_key, is_analyzed
from benchmarks.lab.configuration import NEVER_COUNT, Fault
from benchmarks.lab.experiments import Experiment, experiments

ALARMS = ("critical", "warning")
ANY = (*ALARMS, "note")


@dataclass(frozen=True)
class Trial:
    """One analyzed run of an experiment: its outcomes by cut, its steps and what it printed."""

    experiment: Experiment
    seed: int
    steps: int
    outcomes: dict[str, dict[str, Any]]
    losses: losses.Losses

    def at(self, cut: str) -> dict[str, Any]:
        """The outcomes after `cut` steps; of the whole run when it is shorter."""
        return self.outcomes.get(cut, self.outcomes[WHOLE])

    def fired(self, levels: Iterable[str], cut: str = WHOLE) -> set[str]:
        """The diagnosers with a finding of one of these severities."""
        found = self.at(cut)["findings"]
        return {name for name, items in found.items() if any(item["severity"] in levels for item in items)}


@dataclass(frozen=True)
class Share:
    """A share of runs, with a 95 % interval in which a configuration, not a seed or a dose, is one observation."""

    hits: int
    runs: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """Between 0 and 1; NaN of nothing."""
        return self.hits / self.runs if self.runs else math.nan

    def __str__(self) -> str:
        if not self.runs:
            return "none"
        return f"{self.hits} of {self.runs}, {self.value:.1%} ({self.low:.0%} to {self.high:.0%})"


def trials() -> list[Trial]:
    """Every run that is recorded and analyzed as the sources stand; the others are left out."""
    analysis, found = analysis_key(), []
    for item in experiments():
        for folder in sorted((record.LAB / "runs" / item.name).glob("seed*")):
            seed = int(folder.name.removeprefix("seed"))
            if record.is_recorded(item, seed) and is_analyzed(folder, analysis):
                found.append(load_trial(item, seed))
    return found


def load_trial(experiment: Experiment, seed: int) -> Trial:
    """One analyzed run."""
    folder = record.folder_of(experiment.name, seed)
    kept = json.loads((folder / "outcomes.json").read_text())
    printed = losses.parse((folder / "printed.txt").read_text())
    return Trial(experiment, seed, kept["steps"], kept["outcomes"], printed)


def missing(seeds: int = record.SEEDS) -> list[str]:
    """The runs that the figures lack: not recorded within the limit, not readable, or not analyzed as things stand."""
    there = {(run.experiment.name, run.seed) for run in trials()}
    wanted = [(item.name, seed) for item in experiments() for seed in range(seeds)]
    return [f"{name} seed {seed}" for name, seed in wanted if (name, seed) not in there]


def series_of(experiment: Experiment) -> str:
    """What counts as one observation: a healthy configuration, or one fault in one model at all its doses."""
    return experiment.name.removesuffix(f"-{experiment.fault.dose}") if experiment.fault else experiment.name


def share(runs: list[Trial], hit: Callable[[Trial], bool]) -> Share:
    """The share of `runs` that are a `hit`; Wilson's interval over configurations, each with the mean of its runs."""
    by_name: dict[str, list[bool]] = {}
    for run in runs:
        by_name.setdefault(series_of(run.experiment), []).append(hit(run))
    hits = sum(sum(values) for values in by_name.values())
    if not runs:
        return Share(0, 0, math.nan, math.nan)
    low, high = wilson(sum(sum(values) / len(values) for values in by_name.values()) / len(by_name), len(by_name))
    return Share(hits, len(runs), low, high)


def wilson(value: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share `value` seen in `count` independent observations."""
    centre = (value + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(value * (1 - value) / count + z**2 / (4 * count**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def counting(fault: Fault) -> set[str]:
    """The diagnosers that count for this fault: all that are accepted but notes on schedules and labels."""
    return set(fault.accepted) - set(NEVER_COUNT)


def found(run: Trial, levels: Iterable[str] = ANY, cut: str = WHOLE) -> bool:
    """Whether an accepted diagnoser fired on a faulty run."""
    assert run.experiment.fault is not None
    return bool(counting(run.experiment.fault) & run.fired(levels, cut))


def told_apart(run: Trial, base: Trial | None) -> bool:
    """Whether an accepted diagnoser fired on a faulty run that is silent on the healthy run of the same seed."""
    assert run.experiment.fault is not None
    said = base.fired(ANY) if base is not None else set()
    return bool(counting(run.experiment.fault) & (run.fired(ANY) - said))


def root_first(run: Trial) -> bool:
    """Whether the report of a faulty run opens with an accepted root."""
    assert run.experiment.fault is not None
    ranked = run.outcomes[WHOLE]["ranked"]
    return bool(ranked) and ranked[0][0] in run.experiment.fault.root


def false_alarm(run: Trial, levels: Iterable[str] = ALARMS, cut: str = WHOLE) -> bool:
    """Whether any diagnoser fired on a healthy run."""
    return bool(run.fired(levels, cut))


def steps_until_found(run: Trial) -> int | None:
    """The fewest steps after which the run would have been found, of those that were tried; None when it never is."""
    for count in CUTS:
        if str(count) in run.outcomes and found(run, cut=str(count)):
            return count
    return run.steps if found(run) else None


def costs(faulty: list[Trial], healthy: list[Trial]) -> list[float]:
    """What each faulty run has cost of the loss reduction that its healthy base reaches (median over seeds).

    Runs of faults that harm something else than the loss are left out.
    """
    base: dict[str, list[losses.Losses]] = {item.experiment.name: [] for item in healthy}
    for item in healthy:
        base[item.experiment.name].append(item.losses)
    found = []
    for run in faulty:
        assert run.experiment.fault is not None
        of_base = base.get(run.experiment.fault.base)
        if of_base and run.experiment.fault.harm == "loss":
            found.append(median(losses.cost(run.losses, item) for item in of_base))
    return found
