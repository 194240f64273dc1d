"""The page over several runs: complete without a script, harmless, sortable and filterable with it."""

import re
from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest

from gradaudit.audit.result import Audit
from gradaudit.chart_data import Series
from gradaudit.findings import Skipped
from gradaudit.report.html import index
from gradaudit.report.html.index import Audited, address, curves
from tests.report.hostile import PAYLOADS
from tests.report.parsed import Parsed
from tests.report.test_browser import visit, without_policy  # noqa: F401
from tests.report.test_html import assert_harmless, without_findings


def rows(audit: Audit) -> list[Audited]:
    calm = without_findings(msgspec.structs.replace(audit, state="killed"))
    quick = msgspec.structs.replace(audit.overview, steps=90, best_evaluation=None, evaluations=[])
    short = msgspec.structs.replace(audit, overview=quick, ranked=audit.ranked[-1:])
    return [
        Audited("b sick", PurePosixPath("b sick/report.html"), audit),
        Audited("a calm", PurePosixPath("a/report.html"), calm),
        Audited("c short", PurePosixPath("../c/report.html"), short),
    ]


@pytest.fixture(scope="module")
def source(audit: Audit) -> str:
    return index.render(rows(audit), [("broken", "run.json is damaged")])


@pytest.fixture(scope="module")
def hostile_source(hostile_audit: Audit) -> str:
    return index.render(
        [Audited(text, PurePosixPath(text), hostile_audit) for text in PAYLOADS], [(text, text) for text in PAYLOADS]
    )


def test_every_run_is_readable_without_a_script(source: str, audit: Audit) -> None:
    text = Parsed(source).text
    assert "3 runs analyzed" in text
    for words in ("b sick", "a calm", "killed", "c short", "step 1,299", "and 2 more", "in 12 checks", "broken"):
        assert words in text
    assert audit.ranked[0].title in text
    assert "1 at worst critical" in text
    assert "run.json is damaged" in text


def test_each_name_leads_to_its_report(source: str) -> None:
    links = [attributes["href"] for tag, attributes in Parsed(source).elements if tag == "a"]
    assert links == ["#all-runs", "./b%20sick/report.html", "./a/report.html", "./../c/report.html"]


def test_causes_stand_before_what_they_explain(audit: Audit) -> None:
    worse = msgspec.structs.replace(audit.ranked[0], consequences=[])
    root = msgspec.structs.replace(audit.ranked[-1], consequences=[worse])
    nested = Audited("a", PurePosixPath("a"), msgspec.structs.replace(audit, ranked=[root]))
    found = index.build([nested]).runs[0].findings
    assert [view.title for view in found] == [item.title for item in (root, worse)]
    assert found[0].icon != "critical"


def test_a_run_that_recorded_too_little_is_not_called_free_of_findings(audit: Audit) -> None:
    blind = [msgspec.structs.replace(o, result=Skipped(reason="short", enable="")) for o in audit.outcomes]
    short = msgspec.structs.replace(audit, ranked=[], outcomes=blind)
    view = index.build([Audited("a", PurePosixPath("a"), short)])
    assert [(one.icon, one.severity) for one in view.runs[0].findings] == [("absent", "too little")]
    assert [(count.icon, count.number) for count in view.counts] == [("absent", 1)]


def test_a_run_without_an_evaluation_has_no_best(audit: Audit) -> None:
    views = index.build(rows(audit)).runs
    assert [view.best_value != "" for view in views] == [True, True, False]
    assert views[2].best == "–"
    assert sorted(views, key=lambda view: view.rank)[0].name == "b sick"


@pytest.mark.parametrize("place", ["javascript:alert(1)", "//attacker.invalid/x", 'a"b', "a#b", "a?b", "a b", "\x00\n"])
def test_a_link_is_always_a_path_beside_the_page(place: str) -> None:
    assert re.fullmatch(r"\./[\w./%~-]*", address(PurePosixPath(place)))


@pytest.mark.parametrize("name", ["source", "hostile_source"])
def test_the_page_is_harmless(name: str, request: pytest.FixtureRequest) -> None:
    assert_harmless(re.sub(r'href="\./[^"]*"', 'href="#"', request.getfixturevalue(name)))


@pytest.mark.long
def test_two_thousand_runs_stay_below_the_limit(audit: Audit) -> None:
    large = index.render(rows(audit)[:1] * 2000)
    assert len(large.encode()) < 4_000_000
    assert "1,000 more runs not shown here." in Parsed(large).text


def test_a_curve_leaves_gaps_and_stays_in_its_box() -> None:
    train = Series(name="train", x=[0, 1, 2, 3], y=[4.0, None, 2.0, 1.0])
    evaluation = Series(name="validation", x=[0, 3], y=[5.0, 3.0], role="evaluation")
    solid, dashed = curves([train, evaluation])
    assert solid.path.count("M") == 2
    assert (solid.dash, dashed.dash) == ("", "4 2")
    for number in re.findall(r"[\d.]+", solid.path + dashed.path):
        assert 0 <= float(number) <= 150
    assert curves([Series(name="train", x=[0], y=[1.0])]) == ()
    assert curves([]) == ()


@pytest.mark.browser
def test_it_sorts_and_filters(visit: Any, source: str) -> None:  # noqa: F811
    opened = visit(source, viewport={"width": 1280, "height": 900})
    page = opened.page

    def names() -> list[str]:
        return [link.inner_text() for link in page.locator("tbody tr:visible td:first-child a").all()]

    page.get_by_role("button", name="Steps").click()
    assert names() == ["c short", "b sick", "a calm"]
    page.get_by_role("button", name="Steps").click()
    assert names()[-1] == "c short"
    page.get_by_role("button", name="Best validation loss").click()
    assert names()[-1] == "c short", "without a value it stays last"
    page.get_by_role("button", name="Best validation loss").click()
    assert names()[-1] == "c short"
    page.get_by_role("button", name="Findings").click()
    assert names()[0] == "b sick"
    page.keyboard.press("/")
    page.keyboard.type("KILLED")
    assert names() == ["a calm"]
    assert page.inner_text("#filter-count") == "1 of 3"
    opened.assert_quiet()


@pytest.mark.browser
@pytest.mark.parametrize("policy", ["kept", "removed"])
def test_hostile_runs_execute_nothing(visit: Any, hostile_source: str, policy: str) -> None:  # noqa: F811
    opened = visit(
        hostile_source if policy == "kept" else without_policy(hostile_source), viewport={"width": 400, "height": 800}
    )
    for button in opened.page.locator("th button").all():
        button.dispatch_event("click")
    for key in ("j", "e", "t", "m", "?", "/"):
        opened.page.keyboard.press(key)
    opened.page.fill("#filter", "<img src=x onerror=window.pwned=1>")
    opened.page.wait_for_timeout(100)
    opened.assert_quiet()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_long_name_may_break_behind_its_words(audit: Audit) -> None:
    named = Audited("a_long_name/<b>", PurePosixPath("x/report.html"), audit)
    assert ">a_<wbr>long_<wbr>name/&lt;b&gt;</a>" in index.render([named])


def test_the_curve_of_a_run_shows_a_spike_that_smoothing_hides() -> None:
    steps = [float(step) for step in range(300)]
    high = [1.0] * 300
    high[101] = 9.0
    band, line = curves([Series(name="train", x=steps, y=[1.0] * 300, low=[1.0] * 300, high=high)])
    assert (band.faint, line.faint) == (True, False)
    assert re.fullmatch(r"M[\d.]+ 38V2", band.path), "one bar, to the top of the box"
    assert {float(place.split()[1]) for place in re.split("[ML]", line.path)[1:]} == {38.0}
