"""Fuzz the readers: `python -m tests.fuzz CORPUS [options of libFuzzer]`, with atheris installed.

The sound inputs are added to CORPUS first. What crashes, hangs or raises anything but a UserError is written to a file
of its own in the working directory.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gradaudit"]):
    from tests.fuzz import harness


def main() -> None:
    """Fuzz until told to stop."""
    warnings.simplefilter("error")
    run = (
        Path(tempfile.mkdtemp(prefix="gradaudit-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)) / "run"
    )
    harness.sound_run(run)
    corpus = Path(sys.argv[1])
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(harness.seeds(run)):
        (corpus / f"sound-{number:02d}").write_bytes(seed)
    harness.strip(run)
    atheris.Setup([sys.argv[0], str(corpus), "-max_len=40000", "-rss_limit_mb=1500", "-timeout=60", *sys.argv[2:]],
                  lambda data: harness.read_with(run, data) and None)  # fmt: skip
    atheris.Fuzz()


main()
