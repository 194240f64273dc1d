"""One recorded run, its audit and its page, shared by all tests of the reports: drawing takes a second or two."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradaudit.audit.result import Audit
from gradaudit.reading.run import Run
from gradaudit.report.html import report_page
from tests.report.chromium import SWITCHES, executable
from tests.report.hostile import poisoned
from tests.report.sample import sample_audit, sample_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sample_run(Path(tmp_path_factory.mktemp("runs")) / "gpt-mini-12L-lr6e-4")


@pytest.fixture(scope="session")
def audit(run: Run) -> Audit:
    return sample_audit(run)


@pytest.fixture(scope="session")
def page(audit: Audit) -> str:
    return report_page.render(audit)


@pytest.fixture(scope="session")
def hostile_audit(audit: Audit) -> Audit:
    return poisoned(audit)


@pytest.fixture(scope="session")
def hostile_page(hostile_audit: Audit) -> str:
    return report_page.render(hostile_audit)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium. Without one the tests are skipped, in CI they fail."""
    program = executable()
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium is installed, and in CI the browser tests must run")
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=SWITCHES)
        yield chromium
        chromium.close()
