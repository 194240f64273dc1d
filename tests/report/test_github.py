"""GitHub's annotations: one line each, the worst ten, nothing that a name could command."""

import msgspec
import pytest

from gradaudit.audit.result import Audit
from gradaudit.report import github, terminal
from gradaudit.report.github import data, property_value
from tests.report.hostile import PAYLOADS


def obeyed(text: str) -> list[str]:
    """The lines that GitHub's runner takes for commands: "::" after blanks, or "##[" anywhere."""
    return [line for line in text.split("\n") if line.lstrip().startswith("::") or "##[" in line]


def test_every_finding_is_one_command_worst_first(audit: Audit) -> None:
    lines = github.render(audit).splitlines()
    levels = [line.split(" ")[0] for line in lines]
    assert levels == ["::error", "::error", "::warning", "::warning", "::notice"]
    assert lines[0].startswith("::error title=gpt-mini-12L-lr6e-4%3A Frozen parameter::One attention layer got")
    assert lines[0].endswith("(frozen_parameter)")
    assert " Next: Look for a detach() or a no_grad() block" in lines[0]
    assert "0.8 %25 of the model" in lines[0]
    assert "Explained by: Frozen parameter. Fix that first." in lines[1]
    assert "Next:" not in lines[1]


def test_ten_are_shown_and_the_rest_counted(audit: Audit) -> None:
    note, critical = audit.ranked[-1], audit.ranked[0]
    many = [*([note] * 12), msgspec.structs.replace(critical, consequences=[])]
    lines = github.render(msgspec.structs.replace(audit, ranked=many)).splitlines()
    assert [line.split(" ")[0] for line in lines[:10]] == ["::error", *["::notice"] * 9]
    assert lines[10:] == ["3 more findings not shown here (3 notes); the report has them all."]


def test_several_runs_share_the_ten(audit: Audit) -> None:
    critical, note = audit.ranked[0], audit.ranked[-1]
    dull = msgspec.structs.replace(audit, ranked=[note] * 12)
    sick = msgspec.structs.replace(audit, ranked=[msgspec.structs.replace(critical, consequences=[])])
    lines = github.render(dull, sick).splitlines()
    assert [line.split(" ")[0] for line in lines[:10]] == ["::error", *["::notice"] * 9]
    assert lines[10:] == ["3 more findings not shown here (3 notes); the reports have them all."]
    none = msgspec.structs.replace(audit, ranked=[])
    assert github.render(none, none) == "::notice title=gradaudit::No problem found in 2 runs\n"


def test_nothing_found_is_a_notice(audit: Audit) -> None:
    (line,) = github.render(msgspec.structs.replace(audit, ranked=[])).splitlines()
    assert line.startswith("::notice title=gradaudit::No problem found in ")


@pytest.mark.parametrize("payload", [*PAYLOADS, "a%0A::error::b", "x,file=/etc/passwd", "::set-output name=a::b"])
def test_escaped_text_ends_neither_its_line_nor_its_property(payload: str) -> None:
    assert "\n" not in data(payload)
    assert "\r" not in data(payload)
    assert not set(property_value(payload)) & set(":,\n\r")
    assert data("100 % %0A") == "100 %25 %250A"


def test_a_hostile_audit_makes_one_command_a_finding(hostile_audit: Audit) -> None:
    text = github.render(hostile_audit)
    assert len(text.splitlines()) == len(hostile_audit.all_ranked())
    for line in text.splitlines():
        properties = line.removeprefix("::").partition("::")[0].partition(" ")[2]
        assert properties.startswith("title=")
        assert "," not in properties


def test_the_terminal_report_holds_no_command(hostile_audit: Audit) -> None:
    for width in range(40, 100, 7):
        assert obeyed(terminal.render(hostile_audit, width=width, unicode=True, verbose=True)) == []


def test_colons_stay_readable_in_the_terminal() -> None:
    paper = terminal.TextLayout(80, True)
    assert paper.shown("a::b ##[command]c") == "a: :b ## [command]c"
