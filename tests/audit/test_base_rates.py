"""The base rates: a shipped file that knows every diagnoser and is no nonsense, and what a finding carries of it."""

import msgspec
import pytest

from benchmarks.lab.base_rates import renamed, text
from gradaudit.audit import base_rates
from gradaudit.audit.base_rates import MEASURE, RENAME, BaseRate, Laboratory, Tally, base_rate, laboratory
from gradaudit.audit.runner import analyze, choose
from gradaudit.diagnosers import all_diagnosers
from gradaudit.findings import Severity
from gradaudit.reading.run import load
from gradaudit.report.laboratory import told
from tests import samples

CATALOGUE = [item.name for item in all_diagnosers()]
GROWING = {Severity.CRITICAL: 1, Severity.WARNING: 3, Severity.NOTE: 4}
TALLY = Tally(healthy_runs=200, healthy={**GROWING, Severity.CRITICAL: 0}, faulty_runs=9, faulty=GROWING)


@pytest.fixture
def figures(monkeypatch):
    """A laboratory that measured *overfitting*, and knows *no_signal* by name only."""
    measured = Laboratory(
        date="2026-11-30", definitions="0000000", healthy_runs=294, faulty_runs=570,
        diagnosers={"overfitting": TALLY, "no_signal": None},
    )  # fmt: skip
    monkeypatch.setattr(base_rates, "laboratory", lambda: measured)
    return measured


def test_the_shipped_file_has_an_entry_for_every_diagnoser_and_no_other():
    assert list(laboratory().diagnosers) == CATALOGUE, f"bring the names up to date with `{RENAME}`"


def test_the_shipped_file_was_written_by_the_command():
    assert base_rates.FILE.read_text(encoding="utf-8") == text(laboratory()), f"write it with `{MEASURE}`"


def test_no_diagnoser_was_measured_on_more_runs_than_there_are():
    whole = laboratory()
    for name, tally in whole.diagnosers.items():
        assert tally is None or tally.healthy_runs <= whole.healthy_runs, name
        assert tally is None or tally.faulty_runs <= whole.faulty_runs, name


@pytest.mark.parametrize(
    "damage",
    [
        {"healthy": {"critical": 0, "warning": 3}},  # no number of notes
        {"healthy": {"critical": 5, "warning": 3, "note": 4}},  # more critical ones than warnings or worse
        {"faulty": {"critical": 0, "warning": 3, "note": 10}},  # more findings than runs
        {"faulty_runs": -1},
        {"faulty_runs": 9.5},
        {"seen": 3},
    ],
)
def test_figures_that_cannot_be_are_refused(damage):
    sound = msgspec.to_builtins(TALLY)
    assert msgspec.convert(sound, Tally) == TALLY
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**sound, **damage}, Tally)


def test_a_finding_is_counted_at_its_severity_or_worse(figures):
    found = [base_rate("overfitting", severity) for severity in Severity]
    assert [(one.healthy, one.healthy_runs) for one in found] == [(0, 200), (3, 200), (4, 200)]
    assert [(one.faulty, one.faulty_runs) for one in found] == [(1, 9), (3, 9), (4, 9)]


@pytest.mark.parametrize("name", ["no_signal", "written_yesterday"])
def test_what_is_not_measured_has_no_figures(figures, name):
    assert base_rate(name, Severity.NOTE) == BaseRate(severity=Severity.NOTE, lacks="not measured yet")


def test_a_package_without_figures_says_nothing(figures, monkeypatch):
    empty = msgspec.structs.replace(figures, healthy_runs=0)
    monkeypatch.setattr(base_rates, "laboratory", lambda: empty)
    assert base_rate("overfitting", Severity.WARNING) is None


def test_new_names_leave_the_figures_as_they_are(figures):
    kept = renamed(figures, ["overfitting", "a_new_one"])
    assert kept.diagnosers == {"a_new_one": None, "overfitting": TALLY}
    assert (kept.date, kept.healthy_runs) == (figures.date, 294)


def every(audit):
    return {item.diagnoser: item for item in audit.all_ranked()}


def test_every_finding_of_an_audit_carries_its_figures(figures):
    audit = analyze(load(samples.FOLDER / "overfitting" / "run"), select=["overfitting", "no_signal"])
    found = every(audit)
    assert found["overfitting"].finding.severity is Severity.WARNING
    assert found["overfitting"].base_rate == BaseRate(
        severity=Severity.WARNING, healthy=3, healthy_runs=200, faulty=3, faulty_runs=9
    )
    assert all(item.base_rate is not None for item in found.values())


def test_a_changed_threshold_has_no_figures(figures):
    run = load(samples.FOLDER / "overfitting" / "run")
    (chosen,) = choose(["overfitting"], [], {})
    option, default = next(iter(chosen.thresholds.items()))
    for value, lacks in ((default, ""), (default * 1.01, "not measured with these thresholds")):
        audit = analyze(run, select=["overfitting"], thresholds={f"overfitting.{option}": value})
        assert every(audit)["overfitting"].base_rate.lacks == lacks


def words(**more):
    return told(BaseRate(**more))


def test_the_words_say_of_how_many():
    counts = {"healthy": 0, "healthy_runs": 294, "faulty": 41, "faulty_runs": 43}
    assert words(severity=Severity.NOTE, **counts) == (
        "Laboratory: seen in 0 of 294 healthy runs and in 41 of 43 runs with this fault"
    )
    assert "seen as critical in 0" in words(severity=Severity.CRITICAL, **counts)
    assert "seen as a warning or worse in 0" in words(severity=Severity.WARNING, **counts)
    assert words(severity=Severity.NOTE, **{**counts, "healthy_runs": 0}) == (
        "Laboratory: seen in 41 of 43 runs with this fault; no healthy run had what this check looks at"
    )
    assert words(severity=Severity.NOTE, healthy=2, healthy_runs=3) == (
        "Laboratory: seen in 2 of 3 healthy runs; no run was made with this fault"
    )
    assert words(severity=Severity.NOTE, lacks="not measured yet") == "Laboratory: not measured yet"


def test_an_audit_of_an_older_gradaudit_says_nothing_of_it():
    assert told(None) == ""
