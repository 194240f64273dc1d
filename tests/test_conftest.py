"""In CI a test that was skipped for want of a tool fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = """
import pytest

@pytest.mark.browser
def test_needs_a_browser():
    pytest.skip("no Chromium here")

def test_needs_nothing():
    pytest.skip("not on this system")
"""


def run_suite(folder: Path, suite: str, **environment: str) -> str:
    (folder / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = browser: needs Chromium\n")
    (folder / "test_suite.py").write_text(suite)
    variables = {name: value for name, value in os.environ.items() if name != "CI"} | environment
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout


def test_elsewhere_a_skip_is_a_skip(tmp_path):
    assert "2 skipped" in run_suite(tmp_path, SUITE)


def test_in_ci_a_skipped_browser_test_fails_and_says_why(tmp_path):
    output = run_suite(tmp_path, SUITE, CI="true")
    assert "1 failed, 1 skipped" in output
    assert "no Chromium here" in output


@pytest.mark.parametrize(("ci", "summary"), [({}, "1 skipped"), ({"CI": "true"}, "1 error")])
def test_in_ci_a_module_skipped_whole_fails(tmp_path, ci, summary):
    output = run_suite(tmp_path, "import pytest\npytest.importorskip('no_such_module')\n", **ci)
    assert summary in output
