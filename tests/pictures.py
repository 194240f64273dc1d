"""The README's pictures, made from the sample runs; ``python -m tests.pictures`` draws them again."""

import shutil
import tempfile
from pathlib import Path

import click
from playwright.sync_api import sync_playwright

from gradaudit.audit.runner import analyze
from gradaudit.reading.run import load
from gradaudit.report.html import report_page
from tests.samples import FOLDER

PICTURES = Path(__file__).parents[1] / ".github" / "pictures"
SAMPLE = "initial_loss_mismatch"  # what `make demo` records
WIDTH, HEIGHT = 1280, 1160


def draw(browser: object, page: Path, scheme: str) -> Path:
    """A screenshot of the top of `page` in a light or dark scheme."""
    picture = PICTURES / f"report-{scheme}.png"
    tab = browser.new_page(  # type: ignore[attr-defined]
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, device_scale_factor=1.25
    )
    tab.goto(page.as_uri())
    tab.screenshot(path=picture)
    tab.close()
    return picture


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        page = Path(folder) / "report.html"
        page.write_text(report_page.render(analyze(load(FOLDER / SAMPLE / "run"))), encoding="utf-8")
        chromium = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for scheme in ("light", "dark"):
            picture = draw(chromium, page, scheme)
            click.echo(f"wrote {picture.relative_to(PICTURES.parents[1])} ({picture.stat().st_size // 1000} KB)")
