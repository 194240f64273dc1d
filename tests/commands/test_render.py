"""`gradaudit render`: the page again, byte for byte, from the JSON of an audit."""

import json

import pytest

from gradaudit.schema import PrivateFacts
from tests.build import build_run
from tests.commands.test_analyze import QUIET_LOSS, SICK_LOSS, gradaudit, refused


@pytest.fixture
def analyzed(tmp_path):
    """A run with its JSON and its page."""
    run = build_run(tmp_path / "sick", loss=SICK_LOSS).path
    assert gradaudit("analyze", run, "--format", "json", "--format", "html").exit_code == 0
    return run


def test_the_page_is_made_again_byte_for_byte(analyzed, tmp_path):
    page = (analyzed / "report.html").read_bytes()
    result = gradaudit("render", analyzed / "audit.json", "-o", tmp_path / "again.html")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "again.html").read_bytes() == page
    (analyzed / "report.html").unlink()
    assert gradaudit("render", analyzed / "audit.json").exit_code == 0
    assert (analyzed / "report.html").read_bytes() == page


def test_the_json_comes_back_on_standard_output(analyzed):
    result = gradaudit("render", analyzed / "audit.json", "--format", "json=-")
    assert result.stdout_bytes == (analyzed / "audit.json").read_bytes()


@pytest.mark.parametrize("format", ["html", "json", "terminal", "markdown", "junit", "github"])
@pytest.mark.parametrize("show", [True, False])
def test_private_facts_stay_in_the_json_unless_asked_for(tmp_path, format, show):
    private = PrivateFacts(host="secret-host", user="secret-user", directory="/secret", command=["secret.py"])
    run = build_run(tmp_path / "x", loss=QUIET_LOSS, private=private).path
    assert gradaudit("analyze", run, "--show-host", "--format", "json").exit_code == 0
    options = ["--format", f"{format}=-", *(["--show-host"] if show else [])]
    result = gradaudit("render", run / "audit.json", *options)
    assert result.exit_code == 0, result.output
    assert ("secret" in result.stdout) is (show and format in ("html", "json"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["audit.json", "No such file"]),
        ("", ["is not an audit"]),
        ("{}", ["is not an audit"]),
        (json.dumps({"audit_version": 99}), ["is not an audit"]),
    ],
)
def test_what_is_no_audit_is_one_line(tmp_path, text, words):
    if text is not None:
        (tmp_path / "audit.json").write_text(text)
    refused(gradaudit("render", tmp_path / "audit.json"), *words)
    assert not (tmp_path / "report.html").exists()


def test_an_audit_from_a_newer_gradaudit_says_so(analyzed):
    file = analyzed / "audit.json"
    file.write_text(file.read_text().replace('"audit_version":1', '"audit_version":99'))
    refused(gradaudit("render", file), "audit version 99", "upgrade")
