"""What the fuzzer found is read without harm, in a process of its own: some of it once crashed the interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

CORPUS = Path(__file__).with_name("corpus")
CHILD = """
import pathlib, sys, tempfile, warnings
from tests.fuzz import harness
warnings.simplefilter("error")
run = pathlib.Path(tempfile.mkdtemp(dir=sys.argv[1])) / "run"
harness.sound_run(run)
sound = harness.seeds(run)
harness.strip(run)
for seed in sound:
    assert harness.read_with(run, seed) == "", harness.read_with(run, seed)
for file in sorted(pathlib.Path(sys.argv[2]).iterdir())[:: int(sys.argv[3])]:
    print(file.name, flush=True)
    harness.read_with(run, file.read_bytes())
"""


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.long)])
def test_the_corpus_is_read_without_harm(tmp_path, every):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", CHILD, tmp_path, CORPUS, str(every)],
        capture_output=True, text=True,
    )  # fmt: skip
    names = done.stdout.splitlines()
    assert done.returncode == 0, f"{names[-1:]}: {done.stderr}"
    assert names == sorted(file.name for file in CORPUS.iterdir())[::every]
    assert len(names) > 20
