"""`gradaudit analyze`: outputs, exit codes, and every bad input as one line."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner

from gradaudit.__main__ import main
from tests.build import build_run
from tests.thin import thin

# With the learning rate at its default this is quiet, and its first loss is far above ln 10 = 2.30.
QUIET_LOSS = 2.30 * numpy.exp(-numpy.arange(200) / 80)
SICK_LOSS = QUIET_LOSS + 9.0


def gradaudit(*arguments, **options):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="gradaudit", **options)


def refused(result, *words):
    """Assert one line on stderr that holds `words`, and exit code 2."""
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("gradaudit: ")
    for word in words:
        assert word in lines[0]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return build_run(tmp_path_factory.mktemp("recorded") / "sick", loss=SICK_LOSS).path


@pytest.fixture
def run(recorded, tmp_path):
    """A run of our own that a test may write into."""
    import shutil

    return Path(shutil.copytree(recorded, tmp_path / "sick"))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# What it makes


def test_it_prints_the_findings_and_writes_the_report(run):
    result = gradaudit("analyze", run)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    page = (run / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert result.stdout.splitlines()[-1] == f"Report: {run}/report.html ({len(page.encode()) / 1000:.0f} KB)"
    assert not list(run.glob(".*")), "a temporary file was left behind"


def test_json_on_stdout_is_json_only(run):
    result = gradaudit("analyze", run, "--format", "json=-")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["audit_version"] == 1
    assert not (run / "report.html").exists()


def test_quiet_prints_the_verdict_only(run):
    result = gradaudit("analyze", run, "-q")
    assert len(result.stdout.splitlines()) == 1
    assert result.stdout.rstrip().endswith(".")
    assert (run / "report.html").exists()


def test_formats_go_where_they_are_told(run, tmp_path):
    result = gradaudit(
        "analyze", run, "--format", "terminal", "--format", f"json={tmp_path}/a.json", "--format", "html",
        "-o", tmp_path / "page.html", "--format", f"terminal={tmp_path}/findings.txt",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "a.json").read_text())
    assert (tmp_path / "page.html").exists()
    assert "\x1b" not in (tmp_path / "findings.txt").read_text()
    assert [line.split()[0] for line in result.stdout.splitlines()[-3:]] == ["Report:"] * 3


HOSTILE = "ü\x1b[31m\n::error::x"


@pytest.mark.parametrize(
    ("encoding", "more", "options"),
    thin(7, itertools.product(["ascii", "utf-8"], [False, True], [(), ("-q",)])),
)
def test_the_name_of_a_folder_is_shown_and_not_obeyed(run, options, more, encoding):
    odd = Path(shutil.move(run, run.parent / HOSTILE))
    runs = [odd, shutil.copytree(odd, odd.parent / "other")] if more else [odd]
    command = [
        sys.executable,
        "-m",
        "gradaudit",
        "analyze",
        *map(str, runs),
        "--format",
        "terminal",
        "--format",
        "json",
    ]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    result = subprocess.run([*command, *options], capture_output=True, env=environment)
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode(encoding)  # ASCII where that is what standard output has
    assert "\x1b" not in text
    assert not any(line.lstrip().startswith("::") for line in text.splitlines())
    shown = ("\\xfc" if encoding == "ascii" else "ü") + "\\x1b[31m\\n: :error: :x"
    assert (shown in text) == (more or not options), "a verdict that stands alone needs no name"


def test_the_name_of_a_missing_run_is_shown_and_not_obeyed(tmp_path):
    refused(gradaudit("analyze", tmp_path / HOSTILE), "\\x1b[31m : :error: :x: no such run")


def test_a_folder_of_runs_is_answered_with_how_to_analyze_them(run):
    refused(gradaudit("analyze", run.parent), "is not a run", f"name one, or {run.parent}/*")


def test_an_unknown_diagnoser_is_answered_with_the_nearest(run):
    for options in (("--select", "overfiting"), ("--ignore", "overfiting"), ("--set", "overfiting.gap=1")):
        refused(gradaudit("analyze", run, *options), "did you mean overfitting?")


def test_an_earlier_report_is_replaced_whole(run):
    (run / "report.html").write_text("old")
    assert gradaudit("analyze", run).exit_code == 0
    assert "old" not in (run / "report.html").read_text()[:3]


def test_a_device_is_written_to_and_not_replaced(run):
    assert gradaudit("analyze", run, "-q", "-o", "/dev/null").exit_code == 0
    assert not Path("/dev/null").is_file()


def test_without_a_run_it_takes_the_newest(recorded, tmp_path, monkeypatch):
    older = build_run(tmp_path / "runs" / "z_older", loss=QUIET_LOSS).path
    newer = build_run(tmp_path / "runs" / "a_newer", loss=QUIET_LOSS).path
    os.utime(older / "run.json", (time.time() - 60, time.time() - 60))
    monkeypatch.chdir(tmp_path)
    assert gradaudit("analyze").exit_code == 0
    assert (newer / "report.html").exists()
    assert not (older / "report.html").exists()


def test_one_bad_run_does_not_stop_the_others(run, tmp_path):
    other = build_run(tmp_path / "other", loss=QUIET_LOSS).path
    result = gradaudit("analyze", "-q", run, tmp_path / "nothing", other)
    refused(result, "nothing: no such run")
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [str(run), str(other)]
    assert (other / "report.html").exists()
    page = (tmp_path / "audits.html").read_text()
    assert 'href="./sick/report.html"' in page
    assert 'href="./other/report.html"' in page
    assert "nothing: no such run" in page
    assert str(tmp_path) not in page


def test_several_runs_have_a_page_that_a_second_time_is_no_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr("gradaudit.commands.workers.cores", lambda: 1)
    other = build_run(tmp_path / "deep" / "other", loss=QUIET_LOSS).path
    result = gradaudit("analyze", run, other, "--fail-on", "warning")
    assert result.exit_code == 1, result.output
    assert result.stdout.splitlines()[-1].startswith(f"All runs: {tmp_path}/audits.html (")
    assert 'href="./deep/other/report.html"' in (tmp_path / "audits.html").read_text()
    again = ["-q", run, other, tmp_path / "audits.html", "--index", tmp_path / "deep" / "x.html"]
    assert gradaudit("analyze", *again).exit_code == 0
    assert 'href="./../sick/report.html"' in (tmp_path / "deep" / "x.html").read_text()


def test_findings_are_printed_when_no_report_can_be_written(run, tmp_path, monkeypatch):
    monkeypatch.setattr("gradaudit.commands.workers.cores", lambda: 1)
    other = build_run(tmp_path / "other", loss=QUIET_LOSS).path
    (other / "report.html").mkdir()
    result = gradaudit("analyze", "-q", run, other)
    refused(result, "cannot write", "other/report.html")
    assert len(result.stdout.splitlines()) == 2
    assert 'href="./other' not in (tmp_path / "audits.html").read_text()


@pytest.mark.parametrize("show", [True, False])
def test_host_and_command_leave_the_machine_only_when_asked(tmp_path, show):
    from gradaudit.schema import PrivateFacts

    private = PrivateFacts(host="secret-host", user="secret-user", directory="/secret", command=["secret.py"])
    run = build_run(tmp_path / "x", loss=QUIET_LOSS, private=private).path
    formats = ["--format", f"json={tmp_path}/a.json", "--format", f"html={tmp_path}/a.html"]
    assert gradaudit("analyze", run, *formats, *(["--show-host"] if show else [])).exit_code == 0
    assert ("secret-host" in (tmp_path / "a.json").read_text()) is show
    if not show:
        assert "secret" not in (tmp_path / "a.html").read_text()


def test_the_formats_of_ci_go_to_their_files(run):
    result = gradaudit("analyze", run, "--format", "markdown", "--format", "junit", "--fail-on", "warning")
    assert result.exit_code == 1, result.output
    assert (run / "report.md").read_text().startswith("## gradaudit: sick\n")
    assert "<failure message=" in (run / "junit.xml").read_text()


def test_github_gets_annotations_beside_the_findings_and_a_summary_of_the_job(run, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = gradaudit("analyze", run, "--format", "terminal", "--format", "github")
    assert result.exit_code == 0, result.output
    assert "initial_loss_mismatch" in result.stdout
    assert any(line.startswith("::warning title=sick%3A ") for line in result.stdout.splitlines())
    assert summary.read_text().startswith("# before\n## gradaudit: sick\n")


def test_several_runs_share_the_annotations_of_the_job(run, tmp_path, monkeypatch):
    monkeypatch.setattr("gradaudit.commands.workers.cores", lambda: 1)
    shutil.copytree(run, tmp_path / "again")
    result = gradaudit("analyze", run, tmp_path / "again", "--format", "github", "--format", "terminal")
    assert result.exit_code == 0, result.output
    commands = [line for line in result.stdout.splitlines() if line.startswith("::")]
    levels = [line.split(" ")[0] for line in commands]
    assert levels == sorted(levels, key=["::error", "::warning", "::notice"].index)
    of_it = [line for line in commands if line.endswith("(initial_loss_mismatch)")]
    assert len(of_it) == 2
    assert all(line.startswith("::warning title=sick%3A ") for line in of_it)


def test_a_summary_that_cannot_be_written_is_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "missing" / "summary.md"))
    refused(gradaudit("analyze", run, "--format", "github"), "cannot write", "summary.md", "no such file")


def test_a_failed_check_does_not_tell_the_folders_of_this_machine(run, monkeypatch):
    from dataclasses import replace

    from gradaudit.audit import runner
    from gradaudit.diagnosers import all_diagnosers

    def broken(run, limits):
        yield Path("/very/secret place/x").read_text()

    monkeypatch.setattr(runner, "all_diagnosers", lambda: [replace(all_diagnosers()[0], check=broken)])
    for show in (False, True):
        result = gradaudit("analyze", run, "--format", "json=-", *(["--show-host"] if show else []))
        (outcome,) = json.loads(result.stdout)["outcomes"]
        assert 'test_analyze.py", line' in outcome["result"]["traceback"]
        assert (str(Path(__file__).parent) in outcome["result"]["traceback"]) is show


# Exit codes


@pytest.mark.parametrize(
    ("fail_on", "code"), thin(2, [(None, 0), ("never", 0), ("critical", 0), ("warning", 1), ("note", 1)])
)
def test_fail_on_sets_the_exit_code(run, fail_on, code):
    options = ["--fail-on", fail_on] if fail_on else []
    result = gradaudit("analyze", run, "-q", "--select", "initial_loss_mismatch", *options)
    assert result.exit_code == code, result.output


def test_a_run_without_findings_never_fails(tmp_path):
    run = build_run(tmp_path / "x", loss=QUIET_LOSS).path
    result = gradaudit("analyze", run, "-q", "--select", "initial_loss_mismatch", "--fail-on", "note")
    assert result.exit_code == 0, result.output


def test_a_threshold_from_the_command_line_reaches_the_diagnoser(run):
    from gradaudit.diagnosers import all_diagnosers

    name, threshold = next((d.name, next(iter(d.thresholds))) for d in all_diagnosers() if d.thresholds)
    result = gradaudit("analyze", run, "--format", "json=-", "--set", f"{name}.{threshold}=7")
    outcomes = {outcome["diagnoser"]: outcome for outcome in json.loads(result.stdout)["outcomes"]}
    assert outcomes[name]["thresholds"][threshold] == 7


def test_a_diagnoser_that_fails_is_named_and_changes_no_exit_code(run, monkeypatch):
    from dataclasses import replace

    from gradaudit.audit import runner
    from gradaudit.diagnosers import all_diagnosers

    def broken(run, limits):
        yield 1 / 0

    monkeypatch.setattr(runner, "all_diagnosers", lambda: [replace(all_diagnosers()[0], check=broken)])
    result = gradaudit("analyze", run)
    assert result.exit_code == 0, result.output
    assert "could not run" in result.stdout.lower()
    assert "Traceback" not in result.output


# Bad input


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: None, ["no such run"], id="no such path"),
        pytest.param(lambda path: write(path, "x"), ["is a file"], id="a file"),
        pytest.param(lambda path: path.mkdir(), ["is not a run"], id="not a run"),
        pytest.param(lambda path: write(path / "launch.json", "{}"), ["never started", "python -I"], id="unstarted"),
        pytest.param(lambda path: write(path / "run.json", "{}"), ["rank00000 is missing"], id="no step"),
        pytest.param(lambda path: write(path / "run.json", '{"format_ver'), ["damaged"], id="torn run.json"),
        pytest.param(lambda path: write(path / "run.json", '{"format_version": 99}'), ["99", "upgrade"], id="newer"),
        pytest.param(lambda path: (path / "run.json").mkdir(parents=True), ["cannot be read"], id="unreadable"),
    ],
)  # fmt: skip
def test_what_is_not_a_readable_run_is_one_line(tmp_path, make, words):
    make(tmp_path / "x")
    before = files(tmp_path)
    result = gradaudit("analyze", tmp_path / "x")
    refused(result, *words)
    assert result.stdout == ""
    assert files(tmp_path) == before, "something was written"


@pytest.mark.parametrize("harm", ["truncated", "foreign", "empty", "text"])
def test_a_damaged_part_is_named_and_the_rest_is_analyzed(run, harm):
    import pandas

    part = run / "rank00000" / "tensors-000000.parquet"
    if harm == "truncated":
        part.write_bytes(part.read_bytes()[:-50])
    elif harm == "foreign":
        pandas.DataFrame({"a": [1]}).to_parquet(part)
    else:
        part.write_bytes(b"" if harm == "empty" else b"not parquet at all")
    result = gradaudit("analyze", run)
    assert result.exit_code == 0, result.output
    assert "tensors-000000.parquet" in result.stdout
    assert "tensors-000000.parquet" in (run / "report.html").read_text()


def test_a_run_whose_steps_are_all_damaged_says_so(run):
    (run / "rank00000" / "steps-000000.parquet").write_bytes(b"PAR1")
    result = gradaudit("analyze", run)
    refused(result, "holds no optimizer step that can be read", "steps-000000.parquet is damaged")
    assert "the script ended" not in result.output, "it is the file that is lost"
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--select", "overfiting"], ["no diagnoser", "overfiting"]),
        (["--ignore", "nothing_of_the_kind"], ["no diagnoser"]),
        (["--set", "nonsense"], ["--set nonsense", "NAME.THRESHOLD=VALUE"]),
        (["--set", "overfitting=1"], ["NAME.THRESHOLD=VALUE"]),
        (["--set", "overfitting.gap=much"], ["'much' is not a finite number"]),
        (["--set", "overfitting.gap=nan"], ["not a finite number"]),
        (["--set", "overfitting.gap=inf"], ["not a finite number"]),
        (["--set", "nobody.gap=1"], ["no diagnoser"]),
        (["--set", "overfitting.nothing=1"], ["no threshold 'nothing'"]),
        (["--format", "pdf"], ["no such format", "html, json, terminal, markdown, junit, github"]),
        (["--format", "json="], ["names no file"]),
        (["--format", "json=-", "--format", "terminal"], ["standard output"]),
        (["--format", "github", "--format", "github"], ["standard output"]),
        (["--format", "markdown=-", "--format", "github"], ["standard output"]),
        (["--format", "json", "--format", "html", "-o", "x"], ["-o names one file"]),
        (["--fail-on", "always"], ["--fail-on", "always"]),
        (["--format", "terminal", "--open"], ["--open needs an HTML report"]),
        (["--colour"], ["--colour", "analyze --help"]),
    ],
)
def test_a_wrong_option_is_one_line_and_writes_nothing(run, arguments, words):
    before = files(run)
    result = gradaudit("analyze", run, *arguments)
    refused(result, *words)
    assert result.stdout == ""
    assert files(run) == before, "something was written"


def test_one_file_for_several_runs_is_refused(run, tmp_path):
    refused(gradaudit("analyze", run, run, "-o", tmp_path / "x.html"), "2 runs", "one at a time")


def test_without_any_run_it_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(gradaudit("analyze"), "no run under runs/", "gradaudit record train.py")


@pytest.mark.parametrize(
    ("place", "reason"),
    [("file/report.html", "not a directory"), ("missing/report.html", "no such file"), ("folder", "is a directory")],
)
def test_an_unwritable_output_is_one_line_and_the_findings_are_printed(run, tmp_path, place, reason):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    before = files(tmp_path)
    result = gradaudit("analyze", run, "-o", tmp_path / place)
    refused(result, f"cannot write {tmp_path / place}", reason)
    assert len(result.stdout.splitlines()) > 3
    assert "Report:" not in result.stdout
    assert files(tmp_path) == before


@pytest.mark.parametrize("part", ["run.json", "rank00000/steps-000000.parquet"])
def test_the_recording_is_never_overwritten(run, part):
    before = (run / part).read_bytes()
    refused(gradaudit("analyze", run, "-o", run / part), "part of the recording")
    assert (run / part).read_bytes() == before


def test_a_run_that_may_not_be_read_or_written_by_this_user(run, recorded, tmp_path):
    """Root may do everything, so the command runs as nobody there."""
    page = run / "report.html"
    run.chmod(0o555)
    (run / "rank00000" / "tensors-000000.parquet").chmod(0)
    for folder in [tmp_path, *tmp_path.parents]:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o001)
    result = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(recorded), str(run)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.splitlines() == [f"gradaudit: cannot write {page}: permission denied"]
    assert "tensors-000000.parquet cannot be read (permission denied)" in " ".join(result.stdout.split())
    assert not page.exists()


# What nobody may not import from root's own Python is imported before, by a first analysis.
AS_NOBODY = """
import contextlib, io, os, sys
from gradaudit.__main__ import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(["analyze", sys.argv[1]])
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
main(["analyze", sys.argv[2]], prog_name="gradaudit")
"""


# The real program


def test_a_name_that_the_terminal_cannot_show_does_not_stop_the_report(run, tmp_path):
    odd = run.rename(tmp_path / "r\xfcn \U0001f680")
    done = subprocess.run(
        [sys.executable, "-m", "gradaudit", "analyze", str(odd)],
        env={**os.environ, "PYTHONIOENCODING": "latin-1:strict"}, cwd=Path(__file__).parents[2],
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert (
        done.stdout.decode("latin-1").splitlines()[-1].startswith(f"Report: {tmp_path}/r\xfcn \\U0001f680/report.html")
    )
    assert (odd / "report.html").exists()


def test_a_reader_that_goes_away_is_no_failure(run):
    command = f"{sys.executable} -m gradaudit analyze {run} -v; echo code $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stderr in ("code 141\n", "code 0\n"), done.stderr


def test_progress_shows_only_on_a_terminal_and_only_when_it_is_slow(capsys, monkeypatch):
    from gradaudit.commands import progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.progress("x") as show:
        show("quick")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    with progress.progress("x") as show:
        show("slow")
    assert capsys.readouterr().err == "\r\x1b[Kx: slow\r\x1b[K"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with progress.progress("x") as show:
        show("slow")
    assert capsys.readouterr().err == ""
