"""Files: a torn segment gives back every whole frame, a Parquet file replaces it, a week stays few files."""

import itertools
import os

import numpy
import pytest

from gradaudit.reading.limits import Budget
from gradaudit.reading.segments import parts, read
from gradaudit.record.storage import closing, writer
from gradaudit.schema import EVENTS, ROWS, STEPS, TENSORS, Meta, plain_rows


def tensor_rows(step, tensors=20):
    generator = numpy.random.default_rng(step)
    columns = {column.name: generator.normal(size=tensors) for column in TENSORS.columns}
    columns |= {"optimizer": numpy.zeros(tensors), "step": numpy.full(tensors, step), "tensor": numpy.arange(tensors)}
    columns |= {
        "gradient_nan": numpy.zeros(tensors),
        "gradient_inf": numpy.zeros(tensors),
        "has_grad": numpy.ones(tensors),
    }
    return columns


def steps_read(folder):
    problems = []
    found = list(parts(folder.parent, "tensors", Meta(), problems, Budget()))
    assert problems == []
    steps = [step for part in found for step in read(part, TENSORS, ["step"]).column("step").to_pylist()]
    return sorted(set(steps)), len(steps)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "rank00000"
    path.mkdir()
    return path


def test_a_segment_cut_anywhere_gives_back_its_whole_frames(folder):
    segment = writer._Segment(folder, TENSORS)
    sizes = []
    for step in range(6):
        segment.append(tensor_rows(step))
        sizes.append(segment.file.stat().st_size)
    whole = segment.file.read_bytes()
    for cut in range(0, len(whole), 97):
        segment.file.write_bytes(whole[:cut])
        steps, rows = steps_read(folder)
        assert steps == list(range(sum(size <= cut for size in sizes))), cut
        assert rows == 20 * len(steps)


def test_a_segment_and_its_parquet_file_are_not_read_twice(folder):
    segment = writer._Segment(folder, TENSORS)
    segment.append(tensor_rows(0))
    plain = segment.file.read_bytes()
    closing.to_parquet(folder, lambda: True)
    assert not segment.file.exists()
    segment.file.write_bytes(plain)  # as if killed between the renaming and the removal
    assert steps_read(folder) == ([0], 20)
    closing.to_parquet(folder, lambda: True)
    assert not segment.file.exists()
    assert steps_read(folder) == ([0], 20)


def test_long_runs_are_few_files(folder, monkeypatch):
    monkeypatch.setattr(writer, "SEGMENT_ROWS", 100)
    segment = writer._Segment(folder, TENSORS)
    for step in range(12):
        segment.append(tensor_rows(step))
    segment.close()
    assert [file.name for file in sorted(folder.iterdir())] == [f"tensors-{n:06d}.rows" for n in range(3)]
    assert steps_read(folder) == (list(range(12)), 240)
    closing.to_parquet(folder, lambda: True)
    assert [file.name for file in sorted(folder.iterdir())] == [f"tensors-{n:06d}.parquet" for n in range(3)]
    assert steps_read(folder) == (list(range(12)), 240)


def test_small_frames_are_put_together(folder, monkeypatch):
    monkeypatch.setattr(writer, "SMALL_FRAMES", 64)
    segment = writer._Segment(folder, TENSORS)
    sizes = []
    for step in range(500):
        segment.append(tensor_rows(step, tensors=2))
        sizes.append(segment.file.stat().st_size)
    assert sum(after < before for before, after in itertools.pairwise(sizes)) > 3
    assert segment.left.size == sizes[-1]
    assert steps_read(folder) == (list(range(500)), 1000)
    segment.close()
    # Numbers of noise: 12 columns of four bytes.
    assert (folder / "tensors-000000.rows").stat().st_size < 1000 * 60
    assert [file.name for file in folder.iterdir()] == ["tensors-000000.rows"]


def test_a_disk_that_is_full_when_frames_are_put_together_loses_nothing(folder, monkeypatch):
    monkeypatch.setattr(writer, "SMALL_FRAMES", 4)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer.disk, "replace", full)
    segment = writer._Segment(folder, TENSORS)
    for step in range(9):
        segment.append(tensor_rows(step))
    segment.close()
    closing.to_parquet(folder, lambda: True)
    assert steps_read(folder) == (list(range(9)), 180)


def test_parquet_files_are_made_as_long_as_there_is_time(folder):
    for table in (STEPS, TENSORS):
        columns = {c.name: [[]] if "list" in c.dtype else [0] for c in table.columns}
        writer._Segment(folder, table).append(columns)
    turns = iter([True, False])
    closing.to_parquet(folder, lambda: next(turns))
    assert [file.name for file in sorted(folder.iterdir())] == ["steps-000000.parquet", "tensors-000000.rows"]


def test_what_is_in_the_place_of_a_segment_is_not_followed(folder, tmp_path):
    segment = writer._Segment(folder, TENSORS)
    segment.append(tensor_rows(0))
    theirs = tmp_path / "theirs"
    segment.file.rename(theirs)
    segment.file.symlink_to(theirs)
    os.mkfifo(folder / "tensors-000001.rows")
    closing.to_parquet(folder, lambda: True)
    assert sorted(file.suffix for file in folder.iterdir()) == [".rows", ".rows"]


def test_values_come_back_as_they_were(folder):
    columns = {column.name: [0, 7] for column in ROWS.columns}
    columns |= {"hits_histogram": [[1, 2, 3], []], "movement": [[0.5, float("nan")], [1e30]],
                "never_hit_rows": [[2**40], []], "stopped_rows": [[], []], "checksum": [-(2**62), 5]}  # fmt: skip
    segment = writer._Segment(folder, ROWS)
    segment.append(columns)
    segment.close()
    (part,) = parts(folder.parent, "rows", Meta(), [], Budget())
    table = read(part, ROWS, [column.name for column in ROWS.columns])
    assert table.column("hits_histogram").to_pylist() == [[1, 2, 3], []]
    assert table.column("movement").to_pylist()[0][0] == 0.5
    assert table.column("never_hit_rows").to_pylist() == [[2**40], []]
    assert table.column("checksum").to_pylist() == [-(2**62), 5]


def test_strings_and_flags(folder):
    segment = writer._Segment(folder, EVENTS)
    segment.append({"time": [1.5], "step": [3], "kind": ["dropped"], "message": ["naïve \ud800 text"]})
    segment.close()
    (part,) = parts(folder.parent, "events", Meta(), [], Budget())
    assert read(part, EVENTS, ["message"]).column("message").to_pylist() == ["naïve ? text"]


def test_a_finite_norm_stays_finite_when_it_is_stored():
    values = plain_rows.as_array("float32", [1e300, -1e300, float("inf"), float("nan"), 1e-30])
    assert values.dtype == numpy.float32
    assert numpy.isfinite(values[:2]).all()
    assert values[2] == float("inf")
    assert values[4] == pytest.approx(1e-30)


def test_frames_are_bounded():
    columns = {column.name: numpy.zeros(50_000) for column in TENSORS.columns}
    frames = plain_rows.framed(TENSORS, columns)
    assert len(frames) == 4
    long = [[1.0] * 500_000] * 16
    columns = {column.name: long if "list" in column.dtype else [0] * 16 for column in STEPS.columns}
    assert len(plain_rows.framed(STEPS, columns)) == 8
