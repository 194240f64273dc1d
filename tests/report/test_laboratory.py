"""Every finding says in every report how often the laboratory saw it."""

import click
import msgspec
import pytest

from gradaudit.audit.base_rates import BaseRate
from gradaudit.audit.causes import RankedFinding
from gradaudit.audit.result import Audit
from gradaudit.findings import Severity
from gradaudit.report import json_file, markdown, terminal
from gradaudit.report.html import report_page
from tests.report.parsed import Parsed

WORDS = {
    Severity.CRITICAL: "seen as critical in 0 of 294 healthy runs and in 41 of 43 runs with this fault",
    Severity.WARNING: "seen as a warning or worse in 2 of 294 healthy runs and in 42 of 43 runs with this fault",
    Severity.NOTE: "seen in 9 of 294 healthy runs and in 43 of 43 runs with this fault",
}
HITS = {Severity.CRITICAL: (0, 41), Severity.WARNING: (2, 42), Severity.NOTE: (9, 43)}


def measured(items: list[RankedFinding]) -> list[RankedFinding]:
    return [
        msgspec.structs.replace(item, base_rate=rate(item.finding.severity), consequences=measured(item.consequences))
        for item in items
    ]


def rate(severity: Severity) -> BaseRate:
    healthy, faulty = HITS[severity]
    return BaseRate(severity=severity, healthy=healthy, healthy_runs=294, faulty=faulty, faulty_runs=43)


@pytest.fixture(scope="module")
def told(audit: Audit) -> Audit:
    return msgspec.structs.replace(audit, ranked=measured(audit.ranked))


def flat(text: str) -> str:
    return " ".join(text.split())


def on_paper(audit: Audit) -> str:
    return flat(click.unstyle(terminal.render(audit, width=88, unicode=True, verbose=False)))


def on_page(audit: Audit) -> str:
    return flat(Parsed(report_page.render(audit)).text)


@pytest.mark.parametrize("report", [on_paper, markdown.render, on_page], ids=["terminal", "markdown", "page"])
def test_a_report_says_it_of_each_finding(told: Audit, report) -> None:
    text = report(told)
    for severity in Severity:
        assert text.count(f"Laboratory: {WORDS[severity]}") == told.count(severity) > 0


def test_the_json_holds_the_numbers(told: Audit) -> None:
    back = json_file.parse(json_file.render(told), "audit.json")
    assert [item.base_rate for item in back.all_ranked()] == [rate(item.finding.severity) for item in told.all_ranked()]


def test_an_audit_that_an_older_gradaudit_wrote_is_read_and_says_nothing_of_it(told: Audit) -> None:
    whole = msgspec.json.decode(json_file.render(told))

    def strip(items: list[dict]) -> None:
        for item in items:
            del item["base_rate"]
            strip(item["consequences"])

    strip(whole["ranked"])
    old = json_file.parse(msgspec.json.encode(whole), "audit.json")
    assert "aboratory" not in on_paper(old) + markdown.render(old)


def test_the_page_explains_the_word_where_it_stands(told: Audit) -> None:
    assert "Laboratory" in [fact.name for fact in report_page.build(told).glossary]
    nothing = msgspec.structs.replace(told, ranked=[])
    assert "Laboratory" not in [fact.name for fact in report_page.build(nothing).glossary]
