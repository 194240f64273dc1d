"""The pictures of README.md and docs/, made from the sample runs; ``python -m tests.pictures`` draws them again."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from playwright.sync_api import Browser, sync_playwright

from gradaudit.audit.compare import compare
from gradaudit.audit.runner import analyze
from gradaudit.reading.run import load
from gradaudit.report.html import compare_page, report_page
from tests.samples import FOLDER

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SAMPLE = "initial_loss_mismatch"  # what `make demo` records
FAULT, FIX = "init.normal_(self.output.weight)", "init.normal_(self.output.weight, std=0.05)"
DEEP = "vanishing_gradient"  # a model with enough layers for a heat map
WIDTH, HEIGHT = 1280, 1160
MARGIN = 20
TALLEST = {"the-run": 610}  # of a long part the beginning

# Part of a page: the sample it is of, and what is cut out.
PARTS = {
    "verdict": (SAMPLE, "header.top"),
    "the-run": (SAMPLE, "#the-run"),
    "finding": (SAMPLE, "article.card >> nth=0"),
    "layers": (DEEP, "#every-layer"),
}


def report(run: Path, folder: Path) -> Path:
    """The page of a recorded run."""
    page = folder / f"{run.parent.name}.html"
    if not page.exists():
        page.write_text(report_page.render(analyze(load(run))), encoding="utf-8")
    return page


def fixed(folder: Path) -> Path:
    """The same training as the sample's, recorded with its fault taken out."""
    text = (FOLDER / SAMPLE / "train.py").read_text(encoding="utf-8")
    assert FAULT in text, "tests/pictures.py: the line of the sample that is changed is another one now"
    script, run = folder / "train.py", folder / "fixed"
    script.write_text(text.replace(FAULT, FIX), encoding="utf-8")
    options = ["--every", "1", "--quiet", "--no-host", "-o", str(run)]
    command = [sys.executable, "-m", "gradaudit", "record", *options, str(script)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return run


def around(box: dict[str, float], name: str) -> dict[str, float]:
    """A part of a page with a margin, and no more of it than a reader looks at."""
    height = min(box["height"], TALLEST.get(name, box["height"])) + 2 * MARGIN
    return {"x": box["x"] - MARGIN, "y": box["y"] - MARGIN, "width": box["width"] + 2 * MARGIN, "height": height}


def draw(browser: Browser, page: Path, name: str, *, part: str = "", scheme: str = "light") -> Path:
    """A screenshot of the top of `page`, or of a part of it."""
    picture = PICTURES / f"{name}.png"
    tab = browser.new_page(
        viewport={"width": WIDTH, "height": HEIGHT},
        color_scheme="dark" if scheme == "dark" else "light",
        device_scale_factor=1.25,
    )
    tab.goto(page.as_uri())
    tab.evaluate("document.querySelectorAll('details.decided').forEach(one => one.open = true)")
    tab.screenshot(
        path=picture, clip=around(tab.locator(part).bounding_box(), name) if part else None, full_page=bool(part)
    )
    tab.close()
    return picture


def draw_all(browser: Browser, folder: Path) -> list[Path]:
    """Every picture."""
    first = report(FOLDER / SAMPLE / "run", folder)
    drawn = [draw(browser, first, f"report-{scheme}", scheme=scheme) for scheme in ("light", "dark")]
    drawn += [
        draw(browser, report(FOLDER / sample / "run", folder), name, part=part)
        for name, (sample, part) in PARTS.items()
    ]
    comparison = compare([analyze(load(run)) for run in (FOLDER / SAMPLE / "run", fixed(folder))])
    page = folder / "compare.html"
    page.write_text(compare_page.render(comparison), encoding="utf-8")
    return [*drawn, draw(browser, page, "compare")]


if __name__ == "__main__":
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for picture in draw_all(chromium, Path(temporary)):
            click.echo(f"wrote {picture.relative_to(PICTURES.parents[1])} ({picture.stat().st_size // 1000} KB)")
