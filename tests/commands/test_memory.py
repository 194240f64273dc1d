"""Where memory is limited, what needs little is written, and what needs too much is one line and exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.build import build_run
from tests.commands.test_analyze import SICK_LOSS, gradaudit

resource = pytest.importorskip("resource")

ROOT = Path(__file__).parents[2]
ENOUGH_WITHOUT_CHARTS = 3 * 2**30  # bytes of address space; the chart engine reserves tens of gigabytes
QUICK = ("--select", "initial_loss_mismatch")


def limited(*arguments):
    """The real program with a limit on its address space."""
    return subprocess.run(
        [sys.executable, "-m", "gradaudit", *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=300,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # a stack for each of many cores is memory, too
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ENOUGH_WITHOUT_CHARTS,) * 2),
    )  # fmt: skip


def one_line_each(result, *files):
    assert result.returncode == 2, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == len(files), result.stderr
    for line, file in zip(lines, files, strict=True):
        assert line.startswith(f"gradaudit: {file}: the process that ")
        assert "killed or crashed" in line


@pytest.fixture
def run(tmp_path):
    return build_run(tmp_path / "a", loss=SICK_LOSS).path


def test_a_page_that_cannot_be_drawn_costs_no_other_report(run):
    result = limited("analyze", run, *QUICK, "--format", "terminal", "--format", "html", "--format", "json")
    one_line_each(result, run / "report.html")
    assert "The first loss is" in result.stdout
    assert result.stdout.splitlines()[-1].startswith(f"Report: {run}/audit.json (")
    assert len(json.loads((run / "audit.json").read_text())["ranked"]) == 1
    assert sorted(path.name for path in run.iterdir()) == ["audit.json", "rank00000", "run.json"]


@pytest.mark.long
def test_of_several_runs_the_findings_are_printed(run, tmp_path):
    other = build_run(tmp_path / "b", loss=SICK_LOSS).path
    result = limited("analyze", "-q", run, other, *QUICK)
    one_line_each(result, run, other)
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [str(run), str(other)]
    assert not list(tmp_path.rglob("*.html"))


@pytest.mark.long
def test_the_other_commands_say_it_in_a_line(run):
    result = limited("compare", run, run, "--format", "html", "--format", "json")
    one_line_each(result, run / "compare.html")
    assert json.loads((run / "compare.json").read_text())["comparison_version"] == 1
    assert gradaudit("analyze", run, *QUICK, "--format", "json").exit_code == 0
    one_line_each(limited("render", run / "audit.json"), run / "report.html")
    assert not list(run.glob("*.html"))


@pytest.mark.parametrize("error", [MemoryError(), ImportError("libarrow.so: failed to map segment from shared object")])
@pytest.mark.parametrize("count", [1, 2])
def test_a_run_that_does_not_fit_is_named(run, monkeypatch, error, count):
    def load(path):
        raise error

    monkeypatch.setattr("gradaudit.reading.run.load", load)
    monkeypatch.setattr("gradaudit.commands.workers.cores", lambda: 1)
    runs = [run] * count
    result = gradaudit("analyze", *runs)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines == [f"gradaudit: {run}: there is not enough memory to analyze it here"] * count
