"""What injections cost, measured on trainings without a recorder."""

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from benchmarks.lab import costs, faulty
from benchmarks.lab.configuration import Fault

KEPT = "fault,seed 0,seed 1,seed 2\nz,0.500,inf,\n"
SCRIPT = """import sys
print("constant 2.0")
print("step 0 train 2.0 validation 2.0")
for step in (20, 40, 60):
    print(f"step {step} train 1.0 validation {0.5 + int(sys.argv[1])}")
print("final validation 0.5")
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table with one measured injection, and three more into a script that prints and trains nothing."""
    path = tmp_path / "costs.csv"
    path.write_text(KEPT)
    monkeypatch.setattr(faulty, "COSTS", path)
    for name, value in {
        "COSTS": path,
        "LAB": tmp_path,
        "BASES": {"tiny": SimpleNamespace(text=SCRIPT)},
        "INJECTED": (
            Fault("half", "tiny", (("{0.5 +", "{1.25 +"),), "a", 1, ("a",), ("a",)),
            Fault("nan", "tiny", (("{0.5 +", "{float('nan') +"),), "a", 1, ("a",), ("a",)),
            Fault("mode", "tiny", (("{0.5 +", "{0.4 +"),), "a", 1, ("a",), ("a",), harm="the mode"),
        ),
    }.items():
        monkeypatch.setattr(costs, name, value)
    return path


def measure(*arguments):
    done = CliRunner().invoke(costs.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_a_cost_is_measured_and_what_was_known_is_kept(table):
    measure("half")
    assert table.read_text() == "fault,seed 0,seed 1,seed 2\nhalf,0.500,,\nz,0.500,inf,\n"


def test_only_what_harms_the_loss_and_is_not_known_is_measured(table):
    measure()
    known = {"half": [0.5], "nan": [float("inf")], "z": [0.5, float("inf")]}
    assert faulty.measured_costs() == known
    measure("--seeds", "2")  # with seed 1 the script ends at 1.5: of 0.5 that can be gained, 0.75 are lost
    assert faulty.measured_costs() == {**known, "half": [0.5, 1.5], "nan": [float("inf")] * 2}
