"""What counts as a recorded run of the laboratory."""

import json

import pytest

from benchmarks.lab import record
from benchmarks.lab.experiments import Experiment
from benchmarks.lab.record import folder_of, is_recorded, recorder_key, recording

ENDS = Experiment("ends", "script", "development", "print('constant 1.0')\n")
KILLED = Experiment("killed", "script", "development", "import os\nos.kill(os.getpid(), 15)\n")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "LAB", tmp_path)
    return tmp_path


def test_a_run_is_recorded_until_its_script_changes(lab):
    assert not is_recorded(ENDS, 0)
    record.record(ENDS, 0)
    assert is_recorded(ENDS, 0, recorder_key())
    assert not is_recorded(ENDS, 1)
    assert not is_recorded(Experiment("ends", "script", "development", "print('constant 2.0')\n"), 0)


def test_a_run_of_another_recorder_is_there_and_recorded_anew(lab, capsys):
    record.record(ENDS, 0)
    now = recording(folder_of("ends", 0))
    file = folder_of("ends", 0) / "recorded.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "recorder": "another"}))
    assert is_recorded(ENDS, 0)
    assert not is_recorded(ENDS, 0, recorder_key())
    record.record_all([ENDS], 1, 1, old=True)
    assert "0 of 1 runs to record" in capsys.readouterr().out
    record.record_all([ENDS], 1, 1)
    assert "1 of 1 runs to record" in capsys.readouterr().out
    assert recording(folder_of("ends", 0)) == now


def test_a_run_that_a_signal_ended_is_not_recorded(lab):
    assert record.record(KILLED, 0)["exit_code"] == -15
    assert not is_recorded(KILLED, 0)


def test_one_seed_of_all_is_recorded_before_the_next(lab, monkeypatch):
    order = []

    def recorded(item, seed):
        order.append((item.name, seed))
        folder_of(item.name, seed).mkdir(parents=True)
        (folder_of(item.name, seed) / "printed.txt").write_text("")
        return {"exit_code": 0, "seconds": 0}

    monkeypatch.setattr(record, "record", recorded)
    record.record_all([ENDS, KILLED], 2, 1)
    assert order == [("ends", 0), ("killed", 0), ("ends", 1), ("killed", 1)]
