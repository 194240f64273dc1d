"""The benchmarks of the analysis and of the page run, and what must not depend on the machine holds."""

import json
import subprocess
import sys

import pytest

from benchmarks import analysis, report
from gradaudit.audit.runner import analyze
from gradaudit.reading.run import load
from gradaudit.report import json_file
from tests.report.chromium import executable
from tests.samples import FOLDER

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What drawing a small page took, and where the page is."""
    file = tmp_path_factory.mktemp("report") / "audit.json"
    file.write_text(json_file.render(analyze(load(FOLDER / "initial_loss_mismatch" / "run"))))
    return report.measure(file, rounds=1), file.with_suffix(".html")


def test_drawing_is_measured(drawn):
    took, page = drawn
    assert "<!doctype html>" in page.read_text()[:200]
    assert took["kilobytes"] == page.stat().st_size / 1000
    assert 0.1 < took["seconds"] < 60
    assert 50 < took["mebibytes"] < report.BUDGETS["mebibytes"].most
    text = report.table(took)
    assert f"| size of the page | 600 KB | {took['kilobytes']:.0f} KB |" in text
    assert text.endswith("| JavaScript heap | 5 MB | no Chromium is installed |")


@pytest.mark.browser
def test_looking_is_measured(drawn):
    if executable() is None:
        pytest.skip("no Chromium is installed")
    took, page = drawn
    # In a process of its own: two Playwrights do not run in one, and other tests keep theirs.
    code = "import json, sys; from pathlib import Path; from benchmarks import report\n"
    code += "print(json.dumps(report.look(Path(sys.argv[1]), visits=1)))"
    done = subprocess.run([sys.executable, "-c", code, str(page)], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert 0 < seen["paint"] < 60
    assert 0.1 < seen["heap"] < report.BUDGETS["heap"].most
    assert "Chromium is" not in report.table(took | seen)


@pytest.mark.long
def test_the_memory_of_drawing_a_whole_page(tmp_path):
    took = report.measure(report.write_audit(tmp_path), rounds=1)
    assert took["mebibytes"] < report.BUDGETS["mebibytes"].most


def test_the_run_of_the_analysis_is_one_that_every_diagnoser_can_read(tmp_path):
    analysis.record(tmp_path / "run", 40)
    audit = analyze(load(tmp_path / "run"))
    assert audit.with_status("failed") == []
    assert len(audit.meta.tensors) == 2 * analysis.LAYERS
