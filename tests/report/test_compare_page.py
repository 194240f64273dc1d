"""The comparison as a page, in the terminal and as JSON: complete, harmless, of limited size."""

from typing import Any

import click
import msgspec
import pytest

from gradaudit.audit.compare import Comparison, compare
from gradaudit.audit.overview import overview
from gradaudit.audit.result import Audit
from gradaudit.findings import Severity
from gradaudit.report import compare_terminal
from gradaudit.report.html import compare_page
from gradaudit.report.html.compare_page import times
from tests.build import build_run
from tests.report.hostile import poisoned
from tests.report.parsed import Parsed
from tests.report.test_browser import hovered, visit, without_policy  # noqa: F401
from tests.report.test_github import obeyed
from tests.report.test_html import assert_harmless, without_findings


@pytest.fixture(scope="module")
def comparison(audit: Audit, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    run = build_run(tmp_path_factory.mktemp("other") / "other", loss=[3.0, 2.0, 1.0] * 20)
    other = msgspec.structs.replace(without_findings(audit), overview=overview(run, set()), meta=run.meta)
    table = [
        msgspec.structs.replace(row, gradient_rms=(row.gradient_rms or 1e-6) * 10 ** (i % 5 - 2))
        for i, row in enumerate(audit.overview.table)
    ]
    louder = msgspec.structs.replace(audit.overview, table=table)
    return compare([audit, other, msgspec.structs.replace(audit, overview=louder)])


@pytest.fixture(scope="module")
def source(comparison: Comparison) -> str:
    return compare_page.render(comparison)


@pytest.fixture(scope="module")
def hostile(comparison: Comparison) -> Comparison:
    bad: Comparison = poisoned(comparison)
    pairs = [
        msgspec.structs.replace(
            pair,
            findings=[
                msgspec.structs.replace(f, status=g.status) for f, g in zip(pair.findings, good.findings, strict=True)
            ],
        )
        for pair, good in zip(bad.pairs, comparison.pairs, strict=True)
    ]
    runs = [msgspec.structs.replace(a, label=b.label) for a, b in zip(bad.runs, comparison.runs, strict=True)]
    return msgspec.structs.replace(bad, pairs=pairs, runs=runs)


@pytest.fixture(scope="module")
def hostile_source(hostile: Comparison) -> str:
    return compare_page.render(hostile)


def test_the_page_says_it_all_without_a_script(source: str, comparison: Comparison) -> None:
    text = Parsed(source).text
    assert "3 runs compared" in text
    for pair in comparison.pairs:
        assert pair.verdict in text
        for one in pair.findings:
            assert one.headline in text
    for change in comparison.changes:
        assert change.setting in text
    for pair in comparison.pairs:
        assert all(detail in text for detail in pair.details)
    assert "From A to C" in text
    assert "× 100" in text
    assert "could not be drawn" not in text


@pytest.mark.parametrize("name", ["source", "hostile_source"])
def test_the_page_is_harmless(name: str, request: pytest.FixtureRequest) -> None:
    page = request.getfixturevalue(name)
    assert_harmless(page)
    parsed = Parsed(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert len(page.encode()) < 600_000


def test_the_same_comparison_gives_the_same_bytes(comparison: Comparison, source: str) -> None:
    again = msgspec.json.decode(msgspec.json.encode(comparison), type=Comparison)
    assert compare_page.render(again) == source


def test_the_terminal_tells_verdict_changes_and_findings(comparison: Comparison) -> None:
    text = click.unstyle(compare_terminal.render(comparison, width=88, unicode=True))
    lines = text.split("\n")
    assert lines[0].startswith("A  gpt-mini-12L-lr6e-4: 2,000 steps, finished")
    assert "not found in B" in text, "another model on another loss fixes nothing"
    assert "  steps: A 2,000; B 60; C 2,000" in lines
    assert any(line.startswith("  not found in B    dead_embedding: 100 of 8,192") for line in lines)
    assert max(map(len, lines)) <= 100


def test_the_spike_scores_of_each_run_stand_beside_it(comparison: Comparison) -> None:
    first, *others = comparison.runs
    scored = [msgspec.structs.replace(first, loss_spike_score=0.0, norm_spike_score=0.004), *others]
    comparison = msgspec.structs.replace(comparison, runs=scored)
    words = "2,000 steps, finished; spike score 0 % of the loss and 0.4 % of the gradient norm"
    assert words in " ".join(click.unstyle(compare_terminal.render(comparison, width=160, unicode=True)).split())
    assert compare_page.build(comparison).runs[0].text == words
    unknown = [msgspec.structs.replace(run, loss_spike_score=None, norm_spike_score=None) for run in others]
    comparison = msgspec.structs.replace(comparison, runs=[first, *unknown])
    assert compare_page.build(comparison).runs[1].text == "60 steps, finished"


def test_a_finding_that_one_run_was_not_checked_for_has_a_word_of_its_own(comparison: Comparison) -> None:
    pair = comparison.pairs[0]
    one, warning = pair.findings[0], Severity.WARNING
    followed = [
        msgspec.structs.replace(one, status="unchecked_before", before=None, after=warning, remark="A is too short"),
        msgspec.structs.replace(one, status="unchecked_after", before=warning, after=None, remark="B is too short"),
    ]
    changed = msgspec.structs.replace(comparison, pairs=[msgspec.structs.replace(pair, findings=followed)])
    text = Parsed(compare_page.render(changed)).text
    terminal = click.unstyle(compare_terminal.render(changed, width=88, unicode=True))
    for words in ("not checked in A", "not checked in B", "A is too short", "B is too short"):
        assert words in text
        assert words in terminal
    assert "unknown → warning" in text
    assert "warning → unknown" in text


def test_losses_of_different_functions_are_drawn_apart(comparison: Comparison) -> None:
    functions = ["cross_entropy, 3 classes", "mse_loss", "cross_entropy, 3 classes"]
    runs = [
        msgspec.structs.replace(run, loss_function=function)
        for run, function in zip(comparison.runs, functions, strict=True)
    ]
    first, second = compare_page.loss_charts(msgspec.structs.replace(comparison, runs=runs))
    assert (first.title, second.title) == ("Loss of A and C: cross_entropy, 3 classes", "Loss of B: mse_loss")
    assert {series.name[0] for series in first.series} == {"A", "C"}
    assert {series.name[0] for series in second.series} == {"B"}
    text = Parsed(compare_page.render(msgspec.structs.replace(comparison, runs=runs))).text
    assert "The loss functions differ, so the heights of these losses cannot be compared" in text
    equal = [msgspec.structs.replace(run, loss_function="mse_loss") for run in comparison.runs]
    assert len(compare_page.loss_charts(msgspec.structs.replace(comparison, runs=equal))) == 1


def test_tensors_whose_gradient_was_zero_are_not_passed_over(comparison: Comparison) -> None:
    pair = comparison.pairs[1]
    shifts = [msgspec.structs.replace(pair.shifts[0], gradient=(0.0, 0.1), gradient_decades=None), *pair.shifts[1:]]
    changed = msgspec.structs.replace(comparison, pairs=[msgspec.structs.replace(pair, shifts=shifts)])
    known = sum(shift.gradient_decades is None for shift in shifts)
    assert f"Of {known:,} the gradient is zero or not known" in Parsed(compare_page.render(changed)).text


@pytest.mark.parametrize("unicode", [True, False])
def test_hostile_text_is_only_text_in_the_terminal(hostile: Comparison, unicode: bool) -> None:
    text = click.unstyle(compare_terminal.render(hostile, width=60, unicode=unicode))
    assert obeyed(text) == []
    for character in "\x1b\x07\x00\u202e\r":
        assert character not in text
    assert unicode or text.isascii()


@pytest.mark.parametrize(("decades", "words"), [(None, "–"), (0.0, "same"), (0.4, "× 2.50"), (-2.0, "÷ 100")])
def test_changes_read_as_factors(decades: float | None, words: str) -> None:
    assert times(decades) == words


@pytest.mark.browser
@pytest.mark.parametrize("policy", ["kept", "removed"])
@pytest.mark.parametrize("name", ["source", "hostile_source"])
def test_nothing_executes_and_nothing_is_too_wide(
    visit: Any,  # noqa: F811
    name: str,
    policy: str,
    request: pytest.FixtureRequest,
) -> None:
    page = request.getfixturevalue(name)
    opened = visit(page if policy == "kept" else without_policy(page), viewport={"width": 400, "height": 800})
    for key in ("j", "e", "t", "m", "?", "/"):
        opened.page.keyboard.press(key)
    assert "A train: " in hovered(opened.page, "figure-losses", 0.5, 0.5) or name == "hostile_source"
    opened.assert_quiet()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_loss_that_became_nan_is_marked_as_on_the_page_of_its_run(comparison: Comparison) -> None:
    base = comparison.runs[0]
    broken = [msgspec.structs.replace(base.loss[0], bad=[(3.0, 9.0)])]
    runs = [msgspec.structs.replace(base, loss=broken), *comparison.runs[1:]]
    chart = compare_page.loss_charts(msgspec.structs.replace(comparison, runs=runs))[0]
    assert chart.series[0].bad == [(3.0, 9.0)]
