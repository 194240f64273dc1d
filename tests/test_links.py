"""The links of the documents lead somewhere: files, headings and pictures within the repository."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs/**/*.md", "benchmarks/**/*.md", "sample_runs/README.md", "*.md")
FILES = sorted({file for folder in FOLDERS for file in ROOT.glob(folder)})
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


def slug(heading):
    """The anchor that code hosts give to a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


@cache
def anchors(file):
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = set()
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        name, times = slug(heading), 0
        while (unique := f"{name}-{times}" if times else name) in found:
            times += 1
        found.add(unique)
    return found


def links(file):
    """Each link of a document without code."""
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [match[1] or match[2] for match in LINK.finditer(text)]


def wrong(file, link):
    """What is wrong with a link; empty where nothing is."""
    if link.startswith(("http:", "https:", "mailto:")):
        return ""
    path, _, anchor = link.partition("#")
    target = (file.parent / path).resolve() if path else file
    if not target.exists():
        return f"{link}: no such file"
    if not target.is_relative_to(ROOT):
        return f"{link}: outside the repository"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return f"{link}: no such heading"
    return ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file):
    assert [fault for link in links(file) if (fault := wrong(file, link))] == []


def test_links_are_found_and_a_wrong_one_is_told(tmp_path):
    page = ROOT / "docs" / "README.md"
    assert len(links(page)) > 15
    assert wrong(page, "recording.md#in-a-notebook") == ""
    assert wrong(page, "recording.md#nowhere") == "recording.md#nowhere: no such heading"
    assert wrong(page, "gone.md") == "gone.md: no such file"


def test_every_picture_of_the_documents_is_shown():
    shown = {(file.parent / link).resolve() for file in FILES for link in links(file) if link.endswith(".png")}
    assert {*(ROOT / "docs" / "pictures").glob("*.png")} == shown
