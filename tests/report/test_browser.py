"""The page in headless Chromium: nothing executes but our script, nothing is requested, the buttons work."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradaudit.audit.result import Audit
from gradaudit.audit.runner import analyze
from gradaudit.reading.run import load
from gradaudit.report.html import report_page
from tests.samples import FOLDER as SAMPLES

pytestmark = pytest.mark.browser

# A clipboard that the test can read.
CLIPBOARD = (
    "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text }}})"
)


class Visit:
    """One open page, and what it did: requests beyond the file itself, console messages, errors, dialogs."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.requests: list[str] = []
        self.console: list[str] = []
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.console.append(dialog.message), dialog.dismiss()))
        self.page.goto(file.as_uri())

    @property
    def foreign(self) -> list[str]:
        """Requests for anything but this file and what it holds."""
        return [url for url in self.requests[1:] if not url.startswith("data:")]

    def assert_quiet(self) -> None:
        """Nothing was executed, requested or complained about."""
        assert self.page.evaluate("window.pwned") is None
        assert self.foreign == []
        assert self.console == []


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Open a page source; every visit is closed after the test."""
    opened: list[Visit] = []

    def open_page(source: str, **context: Any) -> Visit:
        file = tmp_path / f"report-{len(opened)}.html"
        file.write_text(source, encoding="utf-8")
        opened.append(Visit(browser, file, **context))
        return opened[-1]

    yield open_page
    for one in opened:
        one.context.close()


def without_policy(source: str) -> str:
    """The page without its content security policy: what then holds is the escaping alone."""
    bare, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    assert count == 1
    return bare


def press_everything(page: Any) -> None:
    """Use every key and every button once."""
    for key in ("j", "j", "k", "e", "e", "t", "m", "?", "Escape", "/"):
        page.keyboard.press(key)
    page.fill("#filter", "<img src=x onerror=window.pwned=1>")
    page.fill("#filter", "")
    for selector in ("#theme", "#open-all", "#copy-summary", "[data-copy=markdown]", "[data-copy=link]"):
        page.locator(selector).first.click()
    page.mouse.move(400, 400)


def test_the_page_requests_nothing_and_says_nothing(visit: Any, page: str) -> None:
    opened = visit(page, viewport={"width": 1280, "height": 900})
    press_everything(opened.page)
    opened.assert_quiet()


@pytest.mark.parametrize("policy", ["kept", "removed"])
def test_a_hostile_audit_executes_nothing(visit: Any, hostile_page: str, policy: str) -> None:
    opened = visit(hostile_page if policy == "kept" else without_policy(hostile_page))
    press_everything(opened.page)
    opened.page.wait_for_timeout(200)
    opened.assert_quiet()
    assert opened.page.evaluate("document.scripts.length") == 1


def test_the_policy_blocks_what_escaping_might_miss(visit: Any, page: str) -> None:
    broken = page.replace("</main>", "<img src=x onerror='window.pwned=1'><script>window.pwned=2</script></main>")
    opened = visit(broken)
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("window.pwned") is None


def test_without_javascript_every_headline_is_readable(visit: Any, page: str, audit: Audit) -> None:
    opened = visit(page, java_script_enabled=False)
    text = " ".join(opened.page.inner_text("body").split())
    for item in audit.all_ranked():
        assert item.finding.headline in text
    assert opened.page.locator("svg.chart").first.is_visible()
    assert not opened.page.locator("#theme").is_visible()
    assert not opened.page.locator("[data-copy]").first.is_visible()


@pytest.mark.parametrize("source", ["page", "hostile_page"])
def test_nothing_is_wider_than_a_small_screen(visit: Any, source: str, request: pytest.FixtureRequest) -> None:
    opened = visit(request.getfixturevalue(source), viewport={"width": 400, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400
    visible = opened.page.locator(".narrow svg.chart").first
    assert visible.is_visible()
    assert not opened.page.locator(".wide svg.chart").first.is_visible()


INSIDE = """card => {
    let framed = card;
    while (parseFloat(getComputedStyle(framed).borderLeftWidth) < 2) framed = framed.parentElement.closest('.card');
    const edge = framed.getBoundingClientRect();
    const own = [...card.children].filter(child => !child.matches('.consequences') && child.checkVisibility());
    return own.map(child => child.getBoundingClientRect()).filter(box => box.left < edge.left + 6
        || box.right > edge.right + 1).length;
}"""


def test_nested_findings_stay_clear_of_the_edge_on_a_small_screen(visit: Any) -> None:
    # Three levels: the scale of the target, the learning rate, the divergence and its NaN.
    nested = report_page.render(analyze(load(SAMPLES / "non_finite" / "run")))
    opened = visit(nested, viewport={"width": 400, "height": 800}).page
    assert opened.locator(".consequences .consequences .card").count() >= 1
    touching = {card.get_attribute("id"): card.evaluate(INSIDE) for card in opened.locator(".card").all()}
    assert not any(touching.values()), touching


# What a Jenkins server sends with every file that a build has archived.
JENKINS = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self';"
READABLE = """figure => {
    const svg = [...figure.querySelectorAll('svg.chart')].filter(each => each.checkVisibility());
    const box = svg[0]?.getBoundingClientRect();
    const ink = element => ['fill', 'stroke'].some(name => !['none', null].includes(element.getAttribute(name)));
    return {
        charts: svg.length, width: box?.width, height: box?.height,
        words: [...(svg[0]?.querySelectorAll('text') ?? [])].map(each => each.textContent).join(' '),
        drawn: [...(svg[0]?.querySelectorAll('path, rect') ?? [])].filter(ink).length,
        pictures: (svg[0]?.querySelectorAll('image') ?? []).length,
        rows: figure.querySelectorAll('details table tbody tr').length,
        told: [...figure.querySelectorAll('.unstyled')].some(each => each.checkVisibility()),
    };
}"""


@pytest.fixture
def at_jenkins(browser: Any, page: str) -> Iterator[Any]:
    """The report as Jenkins shows it: neither our style sheet nor our script nor a picture in the page."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    headers = {"Content-Security-Policy": JENKINS}
    tab.route("**/*", lambda route: route.fulfill(body=page, content_type="text/html; charset=utf-8", headers=headers))
    tab.goto("http://jenkins.invalid/job/train/1/artifact/report.html")
    yield tab
    context.close()


def test_jenkins_policy_leaves_every_word(at_jenkins: Any, audit: Audit) -> None:
    assert at_jenkins.evaluate("getComputedStyle(document.body).marginLeft") == "8px", "the style sheet is blocked"
    text = " ".join(at_jenkins.inner_text("body").split())
    for item, cause in audit.with_causes():
        assert item.finding.headline in text
        assert all((action.text in text) is (cause is None) for action in item.finding.actions), "closed below a cause"
    assert not at_jenkins.locator("#theme").is_visible()
    for joined in ("CriticalCertain", "estimatefrozen", "gradientNaN", "attn.One"):
        assert joined not in text, "words that only the style sheet kept apart"


def test_jenkins_policy_leaves_every_chart(at_jenkins: Any) -> None:
    over_time = at_jenkins.locator("figure#figure-times")
    assert not over_time.is_visible()
    at_jenkins.click("#gradient-sizes summary:has-text('over time')")
    assert over_time.is_visible(), "details open without a script"
    figures = {figure.get_attribute("id"): figure.evaluate(READABLE) for figure in at_jenkins.locator("figure").all()}
    shown = {name: each for name, each in figures.items() if each["charts"]}
    for name in ("loss", "gap", "rate", "norm", "update-ratio", "layers", "sizes", "times"):
        assert f"figure-{name}" in shown
    for name, each in shown.items():
        assert (each["charts"], each["width"]) == (1, 798), f"{name}: the narrow one is there for small screens only"
        assert each["height"] > 100, name
        assert len(each["words"]) > 20, f"{name}: the axes are labelled"
        assert each["rows"] > 0, f"{name}: its numbers stand below it"
        assert each["told"] == (each["pictures"] > 0), f"{name}: an empty place is explained, and only that"
        assert each["pictures"] or each["drawn"], f"{name}: something is drawn"
    assert {name for name, each in shown.items() if each["pictures"]} >= {"figure-layers", "figure-times"}


def test_where_pictures_are_shown_nothing_is_said_of_empty_places(visit: Any, page: str) -> None:
    assert not visit(page).page.locator("#figure-layers .unstyled").is_visible()


def test_the_theme_follows_the_system_and_the_button(visit: Any, page: str) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('svg.chart text[fill]')).fill"
    light = visit(page, color_scheme="light").page
    dark = visit(page, color_scheme="dark").page
    assert light.evaluate(background) == "rgb(246, 247, 249)"
    assert dark.evaluate(background) == "rgb(14, 17, 22)"
    assert light.evaluate(ink) != dark.evaluate(ink)
    light.click("#theme")
    assert light.evaluate(background) == dark.evaluate(background)
    assert light.evaluate(ink) == dark.evaluate(ink)
    dark.click("#theme")
    assert dark.evaluate(background) == "rgb(246, 247, 249)"


def test_keys_move_between_findings(visit: Any, page: str) -> None:
    opened = visit(page).page
    heading = "document.activeElement.id"
    opened.keyboard.press("j")
    assert opened.evaluate(heading) == "frozen_parameter-heading"
    opened.keyboard.press("j")
    second = opened.evaluate(heading)
    opened.keyboard.press("k")
    assert (second, opened.evaluate(heading)) == ("non_finite-heading", "frozen_parameter-heading")
    opened.keyboard.press("?")
    assert opened.locator("#shortcuts").is_visible()


def test_a_link_into_closed_details_opens_them(visit: Any, page: str) -> None:
    opened = visit(page).page
    assert not opened.locator("#parameter-table table").is_visible()
    opened.evaluate("location.hash = '#parameter-table'")
    opened.wait_for_timeout(100)
    assert opened.locator("#parameter-table table").is_visible()


def test_the_filter_narrows_the_parameter_table(visit: Any, page: str) -> None:
    opened = visit(page).page
    opened.keyboard.press("/")
    opened.keyboard.type("H.5.ATTN")
    assert opened.inner_text("#filter-count") == "4 of 149"
    assert opened.locator("#parameter-table tbody tr:visible").count() == 4


def test_a_finding_is_copied_as_markdown(visit: Any, page: str) -> None:
    opened = visit(page)
    copied = (
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text }}})"
    )
    opened.page.evaluate(copied)
    opened.page.locator("#frozen_parameter [data-copy=markdown]").first.click()
    opened.page.wait_for_function("window.copied")
    text = opened.page.evaluate("window.copied")
    assert text.startswith(
        "### Frozen parameter\n\n**One attention layer got a gradient of exactly zero in 2,000 of 2,000 steps"
    )
    assert "1. Look for a detach() or a no\\_grad() block" in text
    assert "```\n[name for name, p in model.named_parameters()" in text
    assert "- steps with a gradient of zero: 2,000 (threshold \\>= 20)" in text
    assert "NaN" not in text, "the consequence has a button of its own"
    opened.page.locator("#non_finite [data-copy=markdown]").click()
    opened.page.wait_for_function("window.copied.includes('NaN')")
    assert "- NaN losses: 3 (threshold \\> 0)" in opened.page.evaluate("window.copied")


def test_hostile_names_stay_text_in_markdown(visit: Any, hostile_page: str) -> None:
    opened = visit(hostile_page)
    copied = (
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text }}})"
    )
    opened.page.evaluate(copied)
    opened.page.click("#copy-summary")
    opened.page.wait_for_function("window.copied")
    assert not re.search(r"(?<!\\)<", opened.page.evaluate("window.copied"))


def hovered(page: Any, figure: str, across: float, down: float) -> str:
    """What the tooltip says at a place of a chart, given as shares of the picture."""
    svg = page.locator(f"#{figure} svg.chart:visible")
    svg.scroll_into_view_if_needed()
    page.wait_for_timeout(50)
    box = svg.bounding_box()
    for nudge in (0, 0.2):  # the first touch of a heatmap unpacks its cells
        page.mouse.move(box["x"] + across * box["width"] + nudge, box["y"] + down * box["height"])
        page.wait_for_timeout(60)
    return str(page.inner_text(".tooltip")) if page.locator(".tooltip").is_visible() else ""


@pytest.mark.parametrize("width", [1280, 400])
def test_lines_tell_their_values_under_the_pointer(visit: Any, page: str, width: int) -> None:
    opened = visit(page, viewport={"width": width, "height": 900})
    first, *values = hovered(opened.page, "figure-loss", 0.5, 0.5).split("\n")
    step = int(re.fullmatch(r"step ([\d,]+)", first)[1].replace(",", ""))  # type: ignore[index]
    assert 700 < step < 1200
    assert re.fullmatch(r"train: 3\.\d+", values[0])
    assert re.fullmatch(r"validation: 3\.\d+ \(step [\d,]+\)", values[1])
    assert hovered(opened.page, "figure-loss", 0.5, 0.999) == "", "below the plot there is nothing to say"
    opened.assert_quiet()


@pytest.mark.parametrize("width", [1280, 400])
def test_a_heatmap_tells_its_cells_under_the_pointer(visit: Any, page: str, audit: Audit, width: int) -> None:
    opened = visit(page, viewport={"width": width, "height": 900})
    matrices = audit.overview.matrices
    assert matrices is not None
    figure = opened.page.locator("#figure-layers")
    plot = json.loads(figure.get_attribute("data-plot"))["wide" if width > 640 else "narrow"]
    height = figure.locator("svg.chart:visible").evaluate("svg => svg.viewBox.baseVal.height")
    panel_top, row_height, _ = plot["panels"][0]
    column = len(matrices.values[0]) // 2
    told = []
    for row in (0, 3, matrices.rows.index("transformer.h.5.attn.c_attn.weight"), len(matrices.rows) - 1):
        down = (plot["frame"][1] + panel_top + (row + 0.5) * row_height) / height
        name, step, words = hovered(opened.page, "figure-layers", 0.5, down).split("\n")
        assert name == matrices.rows[row]
        assert step.startswith("step ")
        value = matrices.values[row][column]
        if value is None:
            assert words == "exactly zero, or no gradient"
        else:
            assert 0.5 < float(words.removeprefix("gradient RMS per element: about ")) / 10**value < 2
        told.append(value is None)
    assert told == [False, False, True, False]
    opened.assert_quiet()


def figure_of(page: Any, title: str) -> str:
    """The id of the figure of a finding, by its title; those of the overview are known by their id."""
    if title.startswith("figure-"):
        return title
    return str(page.locator("figure", has=page.locator("h4", has_text=title)).first.get_attribute("id"))


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize(
    ("title", "index", "words"),
    [
        ("Gradient by depth", 3, r"\S+\ngradient RMS per element: [\d.e-]+"),
        ("How often each row was trained", 7, r"steps with a gradient 64–127\nembedding rows: 2,400"),
        ("figure-sizes", 5, r"\S+(\n.* zero in fp16)?\n\S+ to \S+: [\d.]+ %"),
    ],
)
def test_dots_bars_and_ridges_tell_what_is_under_the_pointer(
    visit: Any, page: str, width: int, title: str, index: int, words: str
) -> None:
    opened = visit(page, viewport={"width": width, "height": 900})
    identifier = figure_of(opened.page, title)
    figure = opened.page.locator(f"#{identifier}")
    plot = json.loads(figure.get_attribute("data-plot"))
    left, top, across, down = plot["wide" if width > 640 else "narrow"]["frame"]
    size = figure.locator("svg.chart:visible").evaluate(
        "svg => [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height]"
    )
    x, y, name, value = plot["spots"][index]
    if isinstance(value, list):
        x = (value.index(max(value)) + 0.5) / len(value)
    said = hovered(opened.page, identifier, (left + x * across) / size[0], (top + max(y, 0.01) * down) / size[1])
    assert re.fullmatch(words, said), said
    assert said.startswith(name)
    if isinstance(value, list):
        assert float(said.rpartition(": ")[2].removesuffix(" %")) == pytest.approx(max(value) / 10)
    else:
        assert said.endswith(value)
    opened.assert_quiet()


def test_hostile_names_are_text_in_the_tooltip(visit: Any, hostile_page: str) -> None:
    opened = visit(without_policy(hostile_page), viewport={"width": 1280, "height": 900})
    assert "\n" in hovered(opened.page, "figure-loss", 0.5, 0.5)
    assert hovered(opened.page, "figure-layers", 0.5, 0.2)
    assert opened.page.evaluate("document.querySelector('.tooltip').children.length") == 0
    opened.assert_quiet()


def test_print_leaves_out_buttons_and_keeps_every_finding(visit: Any, page: str, audit: Audit) -> None:
    opened = visit(page, color_scheme="dark").page
    opened.emulate_media(media="print")
    text = " ".join(opened.inner_text("body").split())
    assert all(item.finding.headline in text for item in audit.all_ranked())
    assert not opened.locator("#theme").is_visible()
    assert not opened.locator("nav.side").is_visible()
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
