"""Parquet files at the end: by the command, however the training has ended, else by the training itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pyarrow.parquet
import pytest

from gradaudit.reading.run import load
from gradaudit.record.storage import closing, writer
from gradaudit.schema import STEPS, TABLES, arrow_schema
from tests.plain_segments import rows_in
from tests.record.training import record, script

TRAIN = """
    import sys, time
    import torch
    from torch.nn import functional

    def main(steps, pause):
        torch.manual_seed(0)
        model = torch.nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            functional.cross_entropy(model(torch.randn(8, 4)), torch.randint(0, 3, (8,))).backward()
            optimizer.step()
            time.sleep(pause)
"""


def files(run):
    return sorted(file.name for file in (run / "rank00000").iterdir())


def suffixes(run):
    return {name.rpartition(".")[2] for name in files(run)}


def steps_of(run):
    found = load(run)
    assert found.problems == ()
    assert found.steps["step"].tolist() == list(range(len(found.steps)))
    return len(found.steps)


def test_the_command_makes_parquet_files_and_the_training_does_not_load_pyarrow(tmp_path):
    script(tmp_path, TRAIN + "\n    main(40, 0.0)\n    print('pyarrow' in sys.modules)\n")
    done = record(tmp_path, "-o", "run", "train.py")
    assert (done.returncode, done.stdout) == (0, "False\n")
    assert suffixes(tmp_path / "run") == {"parquet"}
    assert steps_of(tmp_path / "run") == 40
    for file in (tmp_path / "run" / "rank00000").iterdir():
        schema = pyarrow.parquet.read_schema(file)
        assert schema.equals(arrow_schema(TABLES[file.name.partition("-")[0]]), check_metadata=False)


def running(folder):
    """A recorded training that goes on for a minute, once it has rows on the disk; and the pid of the training."""
    script(folder, TRAIN + "\n    main(3000, 0.02)\n")
    command = [sys.executable, "-m", "gradaudit", "record", "-o", "run", "train.py"]
    process = subprocess.Popen(command, cwd=folder, start_new_session=True)
    end = time.monotonic() + 100
    while len(rows_in(folder / "run" / "rank00000" / "steps-000000.rows")) < 40:
        assert time.monotonic() < end
        time.sleep(0.05)
    return process, json.loads((folder / "run" / "run.json").read_text())["pid"]


def test_a_training_that_runs_and_is_killed(tmp_path):
    process, pid = running(tmp_path)
    run = load(tmp_path / "run")
    assert (run.state, run.problems) == ("running", ())
    before = len(run.steps)
    assert before >= 40
    os.kill(pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert suffixes(tmp_path / "run") == {"parquet"}
    assert steps_of(tmp_path / "run") >= before
    assert load(tmp_path / "run").state == "killed"


def test_a_training_that_is_killed_together_with_the_command(tmp_path):
    process, pid = running(tmp_path)
    before = steps_of(tmp_path / "run")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    assert suffixes(tmp_path / "run") == {"rows"}
    assert steps_of(tmp_path / "run") >= before
    while closing.endings.alive(pid):
        time.sleep(0.01)
    closing.main(str(tmp_path / "run"))
    assert suffixes(tmp_path / "run") == {"parquet"}
    assert steps_of(tmp_path / "run") >= before


ALONE = """
    import sys, gradaudit, torch
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradaudit.Recorder(model, optimizer, directory="run", quiet=True):
        for _ in range(20):
            optimizer.zero_grad()
            model(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
        print("pyarrow" in sys.modules)
"""


def test_a_recorder_without_the_command_makes_its_own(tmp_path):
    file = script(tmp_path, ALONE)
    done = subprocess.run([sys.executable, file], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
    assert suffixes(tmp_path / "run") == {"parquet"}
    assert steps_of(tmp_path / "run") == 20


def rank(run, name, **facts):
    """A folder of a process with two segments."""
    folder = run / name
    folder.mkdir(parents=True)
    place = run / "run.json" if name == "rank00000" else folder / "rank.json"
    place.write_text(json.dumps({"state": "running", "private": {"host": socket.gethostname()}, **facts}))
    segment = writer._Segment(folder, STEPS)
    for step in range(2):
        values = {column.name: [[]] if "list" in column.dtype else [step] for column in STEPS.columns}
        segment.append(values)
        segment.close()
    return folder


GONE = 2**22 + 1  # above the largest pid of Linux


@pytest.mark.parametrize(
    ("name", "facts", "whole"),
    [
        ("rank00000", {"pid": GONE - 1}, True),  # the command waited for it
        ("rank00001", {"pid": GONE}, True),
        ("rank00001", {"pid": GONE, "state": "finished", "private": {}}, True),
        ("rank00001", {"pid": GONE, "private": {"host": "elsewhere"}}, False),
        ("rank00001", {"pid": GONE, "private": {}}, False),
        ("rank00001", {"pid": os.getpid()}, False),
        ("rank00001", {"pid": os.getpid(), "state": "finished"}, False),
        ("rank00001", {"pid": "1"}, False),
    ],
)
def test_the_last_segment_of_a_process_that_may_go_on_is_left(tmp_path, name, facts, whole):
    run = tmp_path / "run"
    folder = rank(run, name, **facts)
    (run / "ended.json").write_text(json.dumps({"pid": GONE - 1, "exit_code": 0}))
    closing.main(str(run))
    last = "steps-000001.parquet" if whole else "steps-000001.rows"
    assert sorted(file.name for file in folder.glob("steps*")) == ["steps-000000.parquet", last]


def test_the_processes_of_one_run_are_each_closed(tmp_path):
    run = tmp_path / "run"
    for number in range(3):
        rank(run, f"rank{number:05d}", pid=GONE)
    (run / "rank00003").symlink_to(run / "rank00000")
    (run / "rank00004").write_text("no folder")
    closing.main(str(run))
    assert {file.suffix for file in run.glob("rank0000[012]/steps*")} == {".parquet"}
    assert not list(run.glob("rank*/*.rows"))


def test_a_process_killed_in_the_middle_of_a_frame_keeps_the_whole_ones(tmp_path):
    folder = tmp_path / "rank00000"
    folder.mkdir()
    segment = writer._Segment(folder, STEPS)
    for step in range(3):
        segment.append({c.name: [[0.5]] if "list" in c.dtype else [step] for c in STEPS.columns})
    whole = segment.file.read_bytes()
    segment.file.write_bytes(whole[:-7])
    closing.to_parquet(folder, lambda: True)
    assert [file.name for file in folder.iterdir()] == ["steps-000000.parquet"]
    assert pyarrow.parquet.read_table(folder / "steps-000000.parquet")["step"].to_pylist() == [0, 1]
