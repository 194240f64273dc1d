"""Several runs as a table in the terminal."""

import json

import click
import msgspec
import pytest

from gradaudit.audit.result import Audit
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
    assert head.split() == ["started", "run", "state", "steps", "spikes", "main", "finding"]
    # One loss and one norm of the 1,872 that have 128 before them.
    assert "sick  finished    2,000  0.053 / 0.053 %  ✗ Frozen parameter (+4): One attention layer got" in sick
    assert "killed      2,000  0.053 / 0.053 %    nothing in 12 checks" in calm
    assert "torn  unreadable                            torn/run.json is damaged" in torn


def scored(audit: Audit, loss: float | None, norm: float | None) -> Audit:
    overview = msgspec.structs.replace(audit.overview, loss_spike_score=loss, norm_spike_score=norm)
    return msgspec.structs.replace(audit, overview=overview)


def test_spike_scores_of_loss_and_gradient_norm_are_a_column(audit: Audit) -> None:
    rows = [listing.row(f"r{i}", scored(audit, *pair)) for i, pair in enumerate([(0.0, 0.004), (0.012, None)])]
    rows.append(listing.row("r2", scored(audit, None, None)))
    _, *lines = click.unstyle(listing.render(rows, width=160, unicode=True)).split("\n")
    told = [line.partition("2,000")[2].partition("✗")[0].strip() for line in lines]
    assert told == [
        "0 / 0.4 %",
        "1.2 / – %",
        "",
    ]
    facts = json.loads(listing.as_json(rows[1]))
    assert (facts["loss_spike_score"], facts["norm_spike_score"]) == (0.012, None)


@pytest.mark.parametrize("unicode", [True, False])
def test_hostile_names_stay_on_their_line(hostile_audit: Audit, unicode: bool) -> None:
    rows = [listing.row(text, hostile_audit) for text in PAYLOADS] + [listing.unreadable(t, t) for t in PAYLOADS]
    text = click.unstyle(listing.render(rows, width=100, unicode=unicode))
    assert len(text.split("\n")) == len(rows) + 1
    assert obeyed(text) == []
    for character in "\x1b\x07\x00\u202e\r":
        assert character not in text
    assert unicode or text.isascii()
