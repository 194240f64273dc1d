"""Several runs as a table in the terminal."""

import click
import msgspec
import pytest

from gradaudit.audit import Audit
from gradaudit.report import listing
from tests.report.hostile import PAYLOADS
from tests.report.test_github import obeyed
from tests.report.test_html import without_findings


def test_a_line_tells_state_steps_and_the_main_finding(audit: Audit) -> None:
    rows = [
        listing.row("sick", audit),
        listing.row("calm", without_findings(msgspec.structs.replace(audit, state="killed"))),
        listing.unreadable("torn", "gradaudit: torn/run.json is damaged\n"),
    ]
    head, sick, calm, torn = click.unstyle(listing.render(rows, width=160, unicode=True)).split("\n")
    assert head.split() == ["started", "run", "state", "steps", "main", "finding"]
    assert "sick  finished    2,000  ✗ frozen_parameter (+4): One attention layer got a gradient" in sick
    assert "killed      2,000    nothing in 12 checks" in calm
    assert "torn  unreadable           torn/run.json is damaged" in torn


@pytest.mark.parametrize("unicode", [True, False])
def test_hostile_names_stay_on_their_line(hostile_audit: Audit, unicode: bool) -> None:
    rows = [listing.row(text, hostile_audit) for text in PAYLOADS] + [listing.unreadable(t, t) for t in PAYLOADS]
    text = click.unstyle(listing.render(rows, width=100, unicode=unicode))
    assert len(text.split("\n")) == len(rows) + 1
    assert obeyed(text) == []
    for character in "\x1b\x07\x00\u202e\r":
        assert character not in text
    assert unicode or text.isascii()
