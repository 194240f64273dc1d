"""`gradaudit list`: the runs of a folder, newest first."""

import itertools
import json
import os
import time
from datetime import datetime

import pytest

from tests.build import build_run
from tests.commands.test_analyze import QUIET_LOSS, SICK_LOSS, gradaudit, refused
from tests.thin import thin


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """runs/ with a sick run, an older quiet one, and one that is torn."""
    build_run(tmp_path / "runs" / "sick", loss=SICK_LOSS)
    quiet = build_run(tmp_path / "runs" / "quiet", loss=QUIET_LOSS, state="failed").path
    torn = tmp_path / "runs" / "torn"
    torn.mkdir()
    (torn / "run.json").write_text("{")
    for run, age in ((quiet, 100), (torn, 200)):
        os.utime(run / "run.json", (time.time() - age, time.time() - age))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_runs_are_listed_newest_first_with_state_and_finding(folder):
    result = gradaudit("list")
    assert result.exit_code == 2, "one could not be read"
    assert result.stderr == ""
    _, sick, quiet, torn = result.stdout.splitlines()
    assert sick.split()[2:5] == ["sick", "finished", "200"]
    assert "! Overconfident initial predict" in sick
    assert quiet.split()[2:4] == ["quiet", "failed"]
    assert torn.split()[:2] == ["torn", "unreadable"]
    assert "runs/torn/run.json is damaged" in torn
    assert sorted(path.name for path in folder.iterdir()) == ["quiet", "sick", "torn"], "nothing was written"


def test_a_copied_run_keeps_its_place(tmp_path, monkeypatch):
    for name, day in (("copied", "01"), ("newer", "02")):
        run = build_run(tmp_path / "runs" / name, loss=QUIET_LOSS, started=f"2026-11-{day}T10:00:00+00:00")
        os.utime(run.path / "run.json", (time.time() - int(day) * 60, time.time() - int(day) * 60))
    monkeypatch.chdir(tmp_path)
    assert [line.split()[2] for line in gradaudit("list").stdout.splitlines()[1:]] == ["newer", "copied"]


def test_machines_get_a_json_object_a_run(folder):
    result = gradaudit("list", "--json")
    assert result.exit_code == 2, "one could not be read"
    sick, quiet, torn = map(json.loads, result.stdout.splitlines())
    assert (sick["run"], sick["state"], sick["steps"], sick["severity"]) == ("sick", "finished", 200, "warning")
    assert (sick["diagnoser"], sick["title"]) == ("initial_loss_mismatch", "Overconfident initial predictions")
    assert sick["headline"].startswith("The first loss is 11.3, ")
    assert (sick["more"], quiet["more"]) == (0, 0)
    assert datetime.fromisoformat(sick["started"]).tzinfo
    assert (quiet["diagnoser"], quiet["title"]) == (None, None)
    assert quiet["headline"].startswith("nothing in ")
    assert (quiet["run"], quiet["state"], quiet["severity"]) == ("quiet", "failed", None)
    assert (torn["run"], torn["state"], torn["started"], torn["steps"]) == ("torn", "unreadable", None, None)
    assert torn["headline"].startswith("runs/torn/run.json is damaged")


def test_the_newest_alone(folder):
    result = gradaudit("list", folder, "-n", "1")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 2
    assert "secret" not in result.stdout


def test_a_folder_without_runs_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(gradaudit("list"), "no run under runs/")
    (tmp_path / "x").write_text("")
    refused(gradaudit("list", "x"), "is a file")


VARIABLES = [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"NO_COLOR": "", "TERM": "xterm"}]
COMMANDS = [
    ("list",),
    ("explain",),
    ("explain", "overfitting"),
    ("analyze", "runs/sick", "--format", "terminal"),
    ("compare", "runs/quiet", "runs/sick", "--format", "terminal"),
]


@pytest.mark.parametrize(("command", "variable"), thin(4, itertools.product(COMMANDS, VARIABLES)))
def test_colours_are_left_out_where_none_are_wanted(folder, command, variable):
    result = gradaudit(*command, color=True, env={"NO_COLOR": None, "TERM": None, **variable})
    assert "overfitting" in result.stdout or "sick" in result.stdout
    assert ("\x1b[" in result.stdout) == (variable.get("TERM") == "xterm")


def test_a_link_to_nothing_hides_no_other_run(folder):
    (folder / "odd").mkdir()
    (folder / "odd" / "run.json").symlink_to("nothing")
    result = gradaudit("list", folder, "--json")
    assert result.exit_code == 2
    listed = {json.loads(line)["run"] for line in result.stdout.splitlines()}
    assert listed - {"odd"} == {"sick", "quiet", "torn"}
