"""What injections cost, measured on trainings without a recorder."""

import csv

import pytest
from click.testing import CliRunner

from benchmarks.lab import costs, faulty

KEPT = "fault,seed 0,seed 1,seed 2\nz,0.500,inf,\n"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table with one measured injection, in place of the real one."""
    path = tmp_path / "costs.csv"
    path.write_text(KEPT)
    monkeypatch.setattr(faulty, "COSTS", path)
    monkeypatch.setattr(costs, "COSTS", path)
    monkeypatch.setattr(costs, "LAB", tmp_path)
    return path


def measure(*names):
    done = CliRunner().invoke(costs.main, names, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_cost_is_measured_and_what_was_known_is_kept(table):
    name = "by_hand_mlp-rate_high-10"
    assert name in measure(name)
    rows = {name: cells for name, *cells in csv.reader(table.read_text().splitlines())}
    assert rows["z"] == ["0.500", "inf", ""]
    assert rows[name][1:] == ["", ""]
    assert faulty.measured_costs()[name] == [float(rows[name][0])]


def test_only_what_harms_the_loss_is_measured(table):
    assert measure(next(fault.name for fault in faulty.INJECTED if fault.harm != "loss")) == ""
    assert table.read_text() == KEPT
