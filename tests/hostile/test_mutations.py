"""What a damaged or prepared run does to `gradaudit analyze`: an exit code, at most one line, and JSON; never more.

Each run is one of six sound ones and a seed; a failure names both, and `python -m tests.hostile.worker SEED` tries it
again.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUICK, ALL = 100, 830


def wrong(seeds):
    """The mutations that went wrong, with what they did; each seed must have been tried."""
    command = [sys.executable, "-m", "tests.hostile.worker", *map(str, seeds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    tried = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["seed"] for each in tried] == list(seeds), done.stderr
    return [each for each in tried if each["wrong"]]


def test_a_hundred_mutations_harm_nothing():
    # Every eighth, so that each kind of mutation has its turn.
    assert not wrong(range(0, 8 * QUICK, 8))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, ALL, 83))
def test_all_mutations_harm_nothing(first):
    assert not wrong(range(first, min(first + 83, ALL)))


def test_what_goes_wrong_is_seen(tmp_path):
    """The worker finds a traceback, a hang of the CPU, too much memory and broken JSON."""
    from tests.hostile.worker import faults

    (tmp_path / "err").write_text("Traceback (most recent call last)\n")
    (tmp_path / "memory").write_text(str(2_000_000))
    (tmp_path / "report.json").write_text('{"outcomes": [NaN]}')
    found = list(faults(0, 11.0, tmp_path))
    assert len(found) == 4
    assert list(faults(-11, 0.0, tmp_path)) == ["crashes: signal 11"]
