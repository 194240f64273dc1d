"""The command line, else pyproject.toml, else the defaults."""

import json
import tomllib

import pytest

from tests.build import build_run
from tests.commands.test_analyze import SICK_LOSS, gradaudit, refused
from tests.diagnosers.sick_wiring import resting

SECTION = """
[tool.gradaudit]
ignore = ["overfitting", "non_finite"]
fail-on = "warning"
[tool.gradaudit.initial_loss_mismatch]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose pyproject.toml sets a threshold, with one sick run."""
    from gradaudit.diagnosers import all_diagnosers

    thresholds = next(d for d in all_diagnosers() if d.name == "initial_loss_mismatch").thresholds
    name = next(iter(thresholds))
    (tmp_path / "pyproject.toml").write_text(f"{SECTION}{name} = {thresholds[name]}\n")
    build_run(tmp_path / "runs" / "sick", loss=SICK_LOSS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gradaudit.commands.workers.cores", lambda: 1)
    return name


def outcomes(*options):
    result = gradaudit("analyze", "runs/sick", "--format", "json=-", *options)
    return {one["diagnoser"]: one for one in json.loads(result.stdout)["outcomes"]}, result.exit_code


def test_the_file_holds_where_the_command_line_says_nothing(project):
    found, code = outcomes()
    assert not {"overfitting", "non_finite"} & set(found)
    assert "initial_loss_mismatch" in found
    assert code == 1


def test_the_command_line_wins(project):
    found, code = outcomes("--ignore", "layer_imbalance", "--fail-on", "never")
    assert {"overfitting", "non_finite"} <= set(found)
    assert "layer_imbalance" not in found
    assert code == 0
    found, _ = outcomes("--select", "overfitting")
    assert set(found) == {"overfitting"}
    found, _ = outcomes("--set", f"initial_loss_mismatch.{project}=7")
    assert found["initial_loss_mismatch"]["thresholds"][project] == 7


def test_tensors_expected_to_be_frozen_are_no_finding(tmp_path, monkeypatch):
    resting(tmp_path / "runs" / "sick", (2, 3))
    monkeypatch.chdir(tmp_path)
    found, _ = outcomes()
    assert found["frozen_parameter"]["result"]["status"] == "found"
    (tmp_path / "pyproject.toml").write_text("[tool.gradaudit]\nexpected-frozen = ['layers.1.*']\n")
    found, _ = outcomes()
    assert found["frozen_parameter"]["result"]["status"] == "clean"
    assert 'expected-frozen = ["layers.1.*"]' in gradaudit("analyze", "--show-config").stdout


def test_what_holds_is_shown_as_toml(project, tmp_path):
    result = gradaudit("analyze", "--show-config", "--set", "layer_imbalance.update_spread=7")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"# from {tmp_path / 'pyproject.toml'}\n")
    assert "update_spread = 7  # --set" in result.stdout
    assert "  # pyproject.toml" in result.stdout
    section = tomllib.loads(result.stdout)["tool"]["gradaudit"]
    assert section["ignore"] == ["overfitting", "non_finite"]
    assert section["fail-on"] == "warning"
    assert section["layer_imbalance"]["update_spread"] == 7
    assert "overfitting" not in section
    assert not list((tmp_path / "runs" / "sick").glob("report*"))


def test_other_commands_follow_the_file(project):
    result = gradaudit("compare", "runs/sick", "runs/sick", "--format", "json=-")
    assert result.exit_code == 0, result.output
    assert [one["diagnoser"] for one in json.loads(result.stdout)["pairs"][0]["findings"]] == ["initial_loss_mismatch"]
    assert "! Overconfident initial predict" in gradaudit("list").stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.gradaudit]\nselect = ['overfiting']", ["pyproject.toml: no diagnoser is called 'overfiting'"]),
        ("[tool.gradaudit.overfitting]\nnothing = 1", ["pyproject.toml: overfitting has no threshold 'nothing'"]),
        ("[tool.gradaudit]\nfail-on = 'always'", ["pyproject.toml: fail-on is 'always'"]),
    ],
)
@pytest.mark.parametrize("command", [["analyze", "runs/sick"], ["list"], ["compare", "runs/sick", "runs/sick"]])
def test_a_mistake_in_the_file_is_one_line(project, tmp_path, text, words, command):
    (tmp_path / "pyproject.toml").write_text(text)
    refused(gradaudit(*command), *words)


def test_what_is_shown_is_toml_that_says_the_same(tmp_path, monkeypatch):
    patterns = ['a"b', "c\\d.*", "größe", "\x1b[31m"]
    (tmp_path / "pyproject.toml").write_text(f"[tool.gradaudit]\nexpected-frozen = {json.dumps(patterns)}\n")
    monkeypatch.chdir(tmp_path)
    result = gradaudit("analyze", "--show-config", "--select", "overfitting")
    assert "\x1b" not in result.stdout
    assert tomllib.loads(result.stdout)["tool"]["gradaudit"]["expected-frozen"] == patterns
