"""One input of the fuzzer: its first byte chooses a file of a small sound run, the rest becomes that file.

Of the tables, the run holds its steps and the one that was chosen, which keeps an input quick.
"""

import shutil
from pathlib import Path

import numpy
import pandas

from gradaudit.reading.run import load
from gradaudit.record.storage.writer import _Segment
from gradaudit.schema import EVALUATIONS, HISTOGRAMS, STEPS, TABLES, UserError
from tests.build import build_run

PLACES = (
    "run.json",
    "rank00001/rank.json",
    "rank00000/steps-000000.parquet",
    "rank00000/tensors-000000.parquet",
    "rank00000/evaluations-000000.parquet",
    "rank00000/rows-000000.parquet",
    "rank00000/histograms-000000.parquet",
    "rank00000/modules-000000.parquet",
    "rank00000/steps-000001.rows",
    "rank00000/evaluations-000001.rows",
    "rank00000/histograms-000001.rows",
)


def sound_run(path: Path) -> None:
    """A run of five steps with every table, closed and open, and a second rank."""
    rows = {"optimizer": 0, "step": 0, "tensor": 0, "rows": 4, "tracked": 4, "hit": 1, "ever_hit": 2, "moved": 1,
            "stopped": 0, "silent": 1, "checksum": 5, "hits_histogram": [1, 2], "movement": [0.5, 0.1],
            "never_hit_rows": [3], "stopped_rows": []}  # fmt: skip
    histogram = {"optimizer": 0, "step": 0, "tensor": 0, "kind": "gradient", "elements": 8, "zeros": 1, "nonfinite": 0,
                 "lowest": -9, "positive": [1, 2], "negative": [3, 1]}  # fmt: skip
    sample = {**{column.name: 0.5 for column in TABLES["modules"].columns}, "step": 0, "module": -1, "loss": 0,
              "kind": "loss_input", "elements": 8, "nonfinite": 0}  # fmt: skip
    loss = numpy.linspace(2.3, 2.0, 5)
    build_run(path, loss=loss, evaluations=[(step, "validation", 2.0) for step in range(3)], rows=[rows],
              histograms=[histogram], samples=[sample], world_size=2)  # fmt: skip
    shutil.copytree(path / "rank00000", path / "rank00001")
    facts = (path / "run.json").read_text().replace('"rank":0', '"rank":1')
    (path / "rank00001" / "rank.json").write_text(facts)
    for table in (STEPS, EVALUATIONS, HISTOGRAMS):
        frame = pandas.read_parquet(path / "rank00000" / f"{table.name}-000000.parquet")
        segment = _Segment(path / "rank00000", table)
        segment.number = 1
        for column in ("step", "pass"):
            if column in frame:
                frame[column] += 10
        segment.append({name: [_plain(value) for value in frame[name]] for name in frame})


def _plain(value: object) -> object:
    return 0.0 if value is None else value


def seeds(path: Path) -> list[bytes]:
    """An input for each place, as it is in the sound run in `path`."""
    return [bytes([index]) + (path / place).read_bytes() for index, place in enumerate(PLACES)]


def strip(path: Path) -> None:
    """Remove every file but the facts and the steps."""
    for place in PLACES[3:]:
        (path / place).unlink()
    shutil.rmtree(path / "rank00001")
    (path / "rank00001").mkdir()


def read_with(path: Path, data: bytes) -> str:
    """Read the stripped run in `path` with one file replaced, everything of it; gives what was complained of."""
    if not data:
        return ""
    file = path / PLACES[data[0] % len(PLACES)]
    sound = file.read_bytes() if file.exists() else None
    file.write_bytes(data[1:])
    try:
        run = load(path)
        for frame in (run.steps, run.evaluations, run.rows, run.histograms, run.samples, run.events, run.replicas):
            len(frame)
        for training in run.trainings:
            training.matrix("gradient_norm")
        return "\n".join(problem.message for problem in run.problems)
    except UserError as error:
        return str(error)
    finally:
        file.unlink() if sound is None else file.write_bytes(sound)
