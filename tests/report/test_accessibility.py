"""axe-core finds nothing to complain about on any page, in light and in dark.

axe-core is a script of npm and no part of the Python environment: ``make axe`` fetches it into build/.
"""

from pathlib import Path
from typing import Any

import pytest

from gradaudit.audit.compare import compare
from gradaudit.audit.result import Audit
from gradaudit.report.html import compare_page, index, report_page
from tests.report.test_browser import visit, without_policy  # noqa: F401
from tests.report.test_html import without_findings
from tests.report.test_index import rows

pytestmark = pytest.mark.axe
AXE = Path(__file__).parents[2] / "build" / "node_modules" / "axe-core" / "axe.min.js"
RUN = "axe.run(document, {resultTypes: ['violations']})"


@pytest.fixture(scope="module")
def pages(audit: Audit, page: str) -> dict[str, str]:
    calm = without_findings(audit)
    return {
        "report": page,
        "calm": report_page.render(calm),
        "index": index.render(rows(audit), [("broken", "run.json is damaged")]),
        "comparison": compare_page.render(compare([audit, calm])),
    }


@pytest.mark.parametrize(
    ("scheme", "width"),
    # Colours go by the scheme, the layout by the width; the other pairs are for the long tests.
    [
        ("dark", 400),
        *(pytest.param(*pair, marks=pytest.mark.long) for pair in [("light", 1280), ("light", 400), ("dark", 1280)]),
    ],
)
@pytest.mark.parametrize("name", ["report", "calm", "index", "comparison"])
def test_axe_finds_no_violation(
    visit: Any,  # noqa: F811
    pages: dict[str, str],
    name: str,
    scheme: str,
    width: int,
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not there; make axe fetches it")
    # The policy, which keeps every script out but ours, would keep axe out too.
    opened = visit(without_policy(pages[name]), viewport={"width": width, "height": 900}, color_scheme=scheme)
    opened.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    opened.page.add_script_tag(path=str(AXE))
    found = opened.page.evaluate(RUN)["violations"]
    assert [(one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found] == []
