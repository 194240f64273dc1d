"""The Markdown of an audit, read by a real parser: it fits a comment, and hostile text stays text."""

import re

import msgspec
import pytest
from markdown_it import MarkdownIt

from gradaudit.audit.result import Audit
from gradaudit.report import markdown
from gradaudit.report.markdown import escaped, fenced
from tests.report.hostile import PAYLOADS


def tokens(text: str) -> list[tuple[str, str]]:
    """The type and the content of every block and inline token, as GitHub's dialect reads them."""
    parser = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    found = []
    for block in parser.parse(text):
        found.append((block.type, "" if block.children else block.content))
        found += [(child.type, child.content) for child in block.children or []]
    return found


def shown(text: str) -> str:
    """What a reader sees, without the joints that nobody sees."""
    return "".join(content for kind, content in tokens(text) if kind in ("text", "text_special")).replace("\u200b", "")


def test_the_verdict_the_counts_and_every_finding_are_there(audit: Audit) -> None:
    text = markdown.render(audit)
    assert text.startswith("## gradaudit: gpt-mini-12L-lr6e-4\n\n**This run is broken: ")
    seen = shown(text)
    for item, cause in audit.with_causes():
        assert f": {item.title}" in seen
        assert item.finding.headline in seen
        assert (item.finding.actions[0].text in seen) is (cause is None), "advice on what a cause explains fights it"
    assert f"Explained by: {audit.ranked[0].title}. Fix that first." in seen
    assert "2 critical · 2 warnings · 1 note · 3 passed" in text
    assert "Could not run: small\\_batch\\_normalization." in text
    assert "- dead\\_relu: the run has no modules" in text


def test_nothing_found_is_not_called_healthy(audit: Audit) -> None:
    calm = [outcome for outcome in audit.outcomes if outcome.status != "found"]
    text = markdown.render(msgspec.structs.replace(audit, outcomes=calm, ranked=[]))
    assert "No problem found in 3 checks" in text
    assert "healthy" not in text


def test_it_fits_a_comment(audit: Audit) -> None:
    one = audit.ranked[0]
    finding = msgspec.structs.replace(one.finding, explanation="x" * 100_000, headline="y" * 100_000)
    many = [msgspec.structs.replace(one, finding=finding, consequences=[]) for _ in range(500)]
    text = markdown.render(msgspec.structs.replace(audit, ranked=many))
    assert len(text) < 65_536
    assert re.search(r"4\d\d more findings in the report\.", text)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_hostile_text_is_only_text(payload: str) -> None:
    for prefix in ("", "x ", "\n"):
        kinds = {kind for kind, _ in tokens(escaped(prefix + payload))}
        assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}, kinds


@pytest.mark.parametrize(
    "text",
    ["1. one", "- one", "+ one", "=====", "---", "# one", "> one", "| a | b |", "a_b_c*d*", "`x`", "[a](b)", "    x",
     "![a](http://b)", "<b>", "&lt;", "~~x~~", "$x$", "12) x", "\\", "* x", "***"],
)  # fmt: skip
def test_markup_comes_out_as_it_was_written(text: str) -> None:
    assert {kind for kind, _ in tokens(escaped(text))} <= {
        "paragraph_open", "paragraph_close", "inline", "text", "text_special"
    }  # fmt: skip
    assert shown(escaped(text)) == text.strip()


@pytest.mark.parametrize("text", ["@everyone", "see #12", "https://a.invalid/x.png", "www.a.invalid"])
def test_nobody_is_notified_and_nothing_is_linked(text: str) -> None:
    assert not re.search(r"@\w|(?<!&)#\d|://|www\.", escaped(text))
    assert shown(escaped(text)) == text


def test_a_fence_is_longer_than_any_in_the_code() -> None:
    text = fenced("a\n````\n<img src=x onerror=1>\n```")
    assert [kind for kind, _ in tokens(text)] == ["fence"]
    assert "onerror" in tokens(text)[0][1]


def test_a_hostile_audit_has_no_markup_of_its_own(hostile_audit: Audit) -> None:
    text = markdown.render(hostile_audit)
    kinds = {kind for kind, _ in tokens(text)}
    assert not kinds & {"html_block", "html_inline", "image", "link_open", "table_open", "code_block", "hr"}, kinds
    for character in "\x1b\x07\x00\u202e\u2066\r":
        assert character not in text
