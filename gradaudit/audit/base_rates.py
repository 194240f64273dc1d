"""How often the laboratory saw a finding: in healthy runs, and in runs with the fault that it names.

The figures are measured, never written by hand: `make lab` records and analyzes some hundred trainings and writes
base_rates.json, which the package ships.
"""

from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec

from gradaudit.chart_data import Value
from gradaudit.findings import Severity

FILE = Path(__file__).with_name("base_rates.json")
MEASURE, RENAME = "make lab", "make docs"

Count = Annotated[int, msgspec.Meta(ge=0)]


class BaseRate(Value, frozen=True, kw_only=True):
    """What the laboratory measured for one diagnoser, counting findings of `severity` or worse."""

    severity: Severity
    healthy: Count = 0  # healthy runs with such a finding
    healthy_runs: Count = 0  # healthy runs that the diagnoser could judge
    faulty: Count = 0  # runs with the fault of this name that have such a finding
    faulty_runs: Count = 0  # runs with the fault of this name
    lacks: str = ""  # why nothing was measured; all counts are 0 then


class Tally(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The counts of one diagnoser: runs, and how many of them have a finding of a severity or worse."""

    healthy_runs: Count
    healthy: dict[Severity, Count]
    faulty_runs: Count
    faulty: dict[Severity, Count]

    def __post_init__(self) -> None:
        for runs, seen in ((self.healthy_runs, self.healthy), (self.faulty_runs, self.faulty)):
            worst_first = [seen.get(severity, -1) for severity in Severity]
            if not 0 <= worst_first[0] <= worst_first[1] <= worst_first[2] <= runs:
                raise ValueError("counts must grow from critical over warning to note, and to the runs")


class Laboratory(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file: when and from what it was measured, and a tally a diagnoser, or null: not measured."""

    date: str
    definitions: str  # the commit that holds the trainings
    healthy_runs: Count
    faulty_runs: Count
    diagnosers: dict[str, Tally | None]


@cache
def laboratory() -> Laboratory:
    """The figures that were shipped. Raises msgspec.ValidationError where the file does not hold what it should."""
    return msgspec.json.decode(FILE.read_bytes(), type=Laboratory)


def base_rate(diagnoser: str, severity: Severity, *, changed: bool = False) -> BaseRate | None:
    """The figures of `diagnoser` for a finding of `severity`; none where its thresholds were `changed`.

    None in a package that ships no figures.
    """
    if not laboratory().healthy_runs:
        return None
    if changed:
        return BaseRate(severity=severity, lacks="not measured with these thresholds")
    tally = laboratory().diagnosers.get(diagnoser)
    if tally is None:
        return BaseRate(severity=severity, lacks="not measured yet")
    return BaseRate(
        severity=severity,
        healthy=tally.healthy[severity],
        healthy_runs=tally.healthy_runs,
        faulty=tally.faulty[severity],
        faulty_runs=tally.faulty_runs,
    )
