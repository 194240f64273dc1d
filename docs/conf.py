"""The site of the documents: `make docs-site`. The Markdown files are the source, as they are on a code host."""

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parents[1]

project = "gradaudit"
author = "the gradaudit authors"
copyright = "the gradaudit authors, Apache-2.0"
html_title = "gradaudit"

extensions = ["myst_parser"]
root_doc = "docs/README"
# The source is the repository, so that links between documents hold on the site as they do on a code host.
include_patterns = [
    "docs/**.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/RESULTS.md",
    "benchmarks/lab/README.md",
    "sample_runs/README.md",
]
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_theme_options = {"top_of_page_buttons": []}
html_show_sourcelink = False
html_copy_source = False
html_static_path: list[str] = []
pygments_style = "tango"
pygments_dark_style = "monokai"

# The side bar. A page that is missing here is an orphan, and the build says so.
SECTIONS = {
    "Start here": ["getting-started", "reading-a-report", "faq"],
    "Guides": ["recording", "analyzing", "comparing", "ci", "from-sagemaker-debugger"],
    "Reference": ["diagnosers/README", "cli", "python-api", "format", "torch-versions"],
    "Working on gradaudit": [
        "architecture",
        "writing-a-diagnoser",
        "style",
        "/CONTRIBUTING",
        "/CHANGELOG",
        "/benchmarks/RESULTS",
        "/benchmarks/lab/README",
        "/sample_runs/README",
    ],
}
REFRESH = '<meta http-equiv="refresh" content="0; url=docs/README.html">'
HOME = f'<!doctype html><meta charset="utf-8">{REFRESH}<title>gradaudit</title>'


LOADED = re.compile(
    r"<(?:script|img|iframe)\b[^>]*\bsrc=[\"']?(?:https?:)?//[^>]*>|<link\b[^>]*\bhref=[\"']?(?:https?:)?//[^>]*>"
    r"|@import\b[^;]*//[^;]*;|url\([\"']?(?:https?:)?//[^)]*\)"
)


def toctree(entries: list[str], caption: str = "") -> str:
    """The directive that puts pages into the side bar."""
    options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["", "```{toctree}", *options, "", *entries, "```", ""])


def with_side_bar(app: Sphinx, name: str, source: list[str]) -> None:
    """Add to the lists of pages what Sphinx needs to know of them: on a code host a list of links is enough."""
    if name == root_doc:
        source[0] += "".join(toctree(entries, caption) for caption, entries in SECTIONS.items())
    elif name == "docs/diagnosers/README":
        pages = sorted(file.stem for file in (ROOT / "docs" / "diagnosers").glob("*.md") if file.stem != "README")
        source[0] += toctree(pages)


def finish(app: Sphinx, failure: Exception | None) -> None:
    """Put a page at the top of the site that leads to the first one, and see that no page loads from the network."""
    if failure is not None:
        return
    (Path(app.outdir) / "index.html").write_text(HOME, encoding="utf-8")
    for file in [*Path(app.outdir).rglob("*.html"), *Path(app.outdir).rglob("*.css")]:
        if found := LOADED.search(file.read_text(encoding="utf-8")):
            raise ExtensionError(f"{file} loads from the network: {found[0]}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", with_side_bar)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
