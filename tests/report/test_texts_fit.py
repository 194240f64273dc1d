"""Every text of every chart of every sample run lies within its picture, measured in Chromium."""

from pathlib import Path
from typing import Any

import pytest

from gradaudit.audit.runner import analyze
from gradaudit.reading.run import load
from gradaudit.report.html import report_page
from tests.samples import recorded
from tests.thin import thin

pytestmark = pytest.mark.browser

# The narrow pictures are hidden on a wide screen, and what is hidden has no size.
OUTSIDE = """() => {
    for (const each of document.querySelectorAll("details")) each.open = true;
    for (const each of document.querySelectorAll(".wide, .narrow")) {
        each.hidden = false;
        each.style.display = "block";
    }
    const found = [];
    let measured = 0;
    for (const svg of document.querySelectorAll("svg.chart")) {
        const { width, height } = svg.viewBox.baseVal;
        for (const text of svg.querySelectorAll("text")) {
            const box = text.getBBox(), place = svg.getScreenCTM().inverse().multiply(text.getScreenCTM());
            const corners = [[box.x, box.y], [box.x + box.width, box.y + box.height]];
            const [from, to] = corners.map(([x, y]) => new DOMPoint(x, y).matrixTransform(place));
            measured += box.width > 0;
            // Lines of text are higher than their letters.
            if (from.x < -0.5 || to.x > width + 0.5 || from.y < -3 || to.y > height + 3) {
                found.push(`${svg.querySelector("title").textContent} (${width} px): ${text.textContent}`);
            }
        }
    }
    return [measured, found];
}"""


# A page takes seconds to draw; each kind of chart is in several samples.
@pytest.mark.parametrize("sample", thin(14, recorded()), ids=lambda folder: folder.name)
def test_no_text_is_cut_at_the_edge_of_its_picture(browser: Any, tmp_path: Path, sample: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(report_page.render(analyze(load(sample / "run"))), encoding="utf-8")
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.goto(file.as_uri())
        measured, outside = page.evaluate(OUTSIDE)
    finally:
        context.close()
    assert measured > 20
    assert outside == []
