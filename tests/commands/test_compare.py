"""`gradaudit compare`: runs and JSON files side by side, exit codes, and every bad input as one line."""

import json

import pytest

from gradaudit.schema import PrivateFacts
from tests.build import build_run
from tests.commands.test_analyze import QUIET_LOSS, SICK_LOSS, gradaudit, refused


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Processes of their own are tested with the workers; here they only take time."""
    monkeypatch.setattr("gradaudit.commands.workers.cores", lambda: 1)


@pytest.fixture
def two(tmp_path):
    """A quiet run and a sick one."""
    private = PrivateFacts(host="secret-host", user="secret-user", directory="/secret", command=["secret.py"])
    quiet = build_run(tmp_path / "quiet", loss=QUIET_LOSS, private=private).path
    return quiet, build_run(tmp_path / "sick", loss=SICK_LOSS).path


def test_it_prints_the_verdict_and_writes_the_page_beside_the_second_run(two):
    quiet, sick = two
    result = gradaudit("compare", quiet, sick)
    assert result.exit_code == 0, result.output
    assert "New in B: overconfident initial predictions." in " ".join(result.stdout.split())
    assert result.stdout.splitlines()[-1].startswith(f"Comparison: {sick}/compare.html (")
    assert "New in B: overconfident initial predictions." in (sick / "compare.html").read_text()
    assert not (quiet / "compare.html").exists()


def test_the_page_over_several_runs_is_none_of_them(two):
    (two[0].parent / "audits.html").write_text("<!doctype html>")
    result = gradaudit("compare", *sorted(two[0].parent.iterdir()), "--format", "terminal")
    assert result.exit_code == 0, result.output


def test_audits_are_compared_as_runs_are(two, tmp_path):
    quiet, sick = two
    for run in two:
        assert gradaudit("analyze", run, "--show-host", "--format", "json").exit_code == 0
    from_runs = gradaudit("compare", quiet, sick, "--format", "json=-")
    from_json = gradaudit("compare", quiet / "audit.json", sick / "audit.json", "--format", "json=-")
    assert from_runs.exit_code == 0, from_runs.output
    assert json.loads(from_runs.stdout) == json.loads(from_json.stdout)


@pytest.mark.parametrize("format", ["html", "json", "terminal"])
@pytest.mark.parametrize("show", [True, False])
def test_the_command_is_compared_only_when_asked(two, format, show):
    result = gradaudit("compare", *two, "--format", f"{format}=-", *(["--show-host"] if show else []))
    assert result.exit_code == 0, result.output
    assert ("secret.py" in result.stdout) is show
    assert show or "secret" not in result.stdout


@pytest.mark.parametrize(("fail_on", "code"), [("never", 0), ("new-critical", 0), ("new-warning", 1), ("new-note", 1)])
def test_fail_on_looks_at_what_is_new(two, fail_on, code):
    quiet, sick = two
    assert gradaudit("compare", quiet, sick, "--format", "terminal", "--fail-on", fail_on).exit_code == code
    assert gradaudit("compare", sick, quiet, "--format", "terminal", "--fail-on", fail_on).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["two runs or more"]),
        (["one"], ["two runs or more"]),
        (["A", "B", "--format", "pdf"], ["no such format", "html, json, terminal"]),
        (["A", "B", "--format", "json="], ["names no file"]),
        (["A", "B", "--format", "json=-", "--format", "terminal"], ["standard output"]),
        (["A", "B", "--format", "json", "-o", "x"], ["-o names the file of the page"]),
        (["A", "B", "--fail-on", "critical"], ["--fail-on"]),
        (["A", "missing"], ["missing: no such run"]),
    ],
)
def test_a_wrong_command_is_one_line_and_writes_nothing(two, tmp_path, arguments, words):
    quiet, sick = two
    places = {"A": quiet, "B": sick, "missing": tmp_path / "missing", "x": tmp_path / "x"}
    refused(gradaudit("compare", *(places.get(argument, argument) for argument in arguments)), *words)
    assert not (sick / "compare.html").exists()
    assert not (tmp_path / "x").exists()


def test_a_finding_that_the_base_was_not_checked_for_fails_and_is_explained(two, tmp_path):
    quiet, sick = two
    base = tmp_path / "base.json"
    assert gradaudit("analyze", quiet, "--select", "loss_spike", "--format", f"json={base}").exit_code == 0
    result = gradaudit("compare", base, sick, "--format", "terminal", "--fail-on", "new-warning")
    assert result.exit_code == 1
    assert "counts for --fail-on. A was not checked for this: the check was not selected" in result.stderr
