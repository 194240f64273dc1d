"""How the base rates are counted from the laboratory's runs."""

import msgspec

from benchmarks.lab.analyze import WHOLE
from benchmarks.lab.base_rates import measured, text
from benchmarks.lab.configuration import Fault
from benchmarks.lab.experiments import Experiment
from benchmarks.lab.figures import Trial
from benchmarks.lab.losses import Losses
from gradaudit.audit.base_rates import Laboratory
from gradaudit.findings import Severity

LOSSES = Losses(2.0, {0: 2.0}, 1.0)


def trial(fault=None, status="clean", severity=None):
    """A run in which *overfitting* has this face, or a finding of this severity."""
    findings = {"overfitting": [{"severity": severity}]} if severity else {}
    outcomes = {WHOLE: {"faces": {"overfitting": "found" if severity else status}, "findings": findings}}
    sick = Fault("a-b-1", "a", (), fault, 1, (fault,), (fault,)) if fault else None
    return Trial(Experiment("a", "script", "development", "", sick), 0, 80, outcomes, LOSSES)


RUNS = [
    trial(),
    trial(severity="note"),
    trial(severity="warning"),
    trial(status="not_applicable"),
    trial(status="skipped"),
    trial("overfitting", severity="critical"),
    trial("overfitting", severity="note"),
    trial("overfitting", status="skipped"),
    trial("divergence", severity="critical"),
]


def counted(names):
    return measured(RUNS, names, "0000000")


def test_healthy_runs_count_where_the_check_could_judge_and_faulty_ones_always():
    tally = counted(["overfitting"]).diagnosers["overfitting"]
    assert (tally.healthy_runs, tally.faulty_runs) == (3, 3)
    assert tally.healthy == {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.NOTE: 2}
    assert tally.faulty == {Severity.CRITICAL: 1, Severity.WARNING: 1, Severity.NOTE: 2}


def test_a_fault_without_a_healthy_run_to_judge_has_its_own_runs():
    tally = counted(["divergence"]).diagnosers["divergence"]
    assert (tally.healthy_runs, tally.faulty_runs, tally.faulty[Severity.NOTE]) == (0, 1, 0)


def test_what_no_run_could_tell_is_not_measured():
    whole = counted(["overfitting", "dead_relu"])
    assert whole.diagnosers["dead_relu"] is None
    assert (whole.healthy_runs, whole.faulty_runs) == (5, 4)


def test_the_file_is_read_back_as_it_was_counted():
    whole = counted(["overfitting", "dead_relu"])
    assert msgspec.json.decode(text(whole), type=Laboratory) == whole
    assert sum('"overfitting"' in line for line in text(whole).splitlines()) == 1
