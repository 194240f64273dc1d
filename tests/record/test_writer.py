"""Files: a torn stream gives back every whole batch, a closed segment replaces its stream, a week stays few files."""

import numpy
import pyarrow
import pytest

from gradaudit.reading.limits import Budget
from gradaudit.reading.segments import parts, read
from gradaudit.record.storage import writer
from gradaudit.schema import EVENTS, ROWS, STEPS, TENSORS, Meta, arrow_schema


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


def test_a_stream_cut_anywhere_gives_back_its_whole_batches(folder):
    segment = writer._Segment(folder, TENSORS)
    sizes = []
    for step in range(6):
        segment.append(tensor_rows(step))
        sizes.append(segment.live.stat().st_size)
    whole = segment.live.read_bytes()
    for cut in range(0, len(whole), 97):
        segment.live.write_bytes(whole[:cut])
        steps, rows = steps_read(folder)
        assert steps == list(range(sum(size <= cut for size in sizes))), cut
        assert rows == 20 * len(steps)


def test_a_segment_and_its_stream_are_not_read_twice(folder):
    segment = writer._Segment(folder, TENSORS)
    segment.append(tensor_rows(0))
    stream = segment.live.read_bytes()
    segment.close()
    assert not segment.live.exists()
    segment.live.write_bytes(stream)  # as if killed between the renaming and the removal
    assert steps_read(folder) == ([0], 20)


def test_long_runs_are_few_files(folder, monkeypatch):
    monkeypatch.setattr(writer, "SEGMENT_ROWS", 100)
    segment = writer._Segment(folder, TENSORS)
    for step in range(12):
        segment.append(tensor_rows(step))
    segment.close()
    assert [file.name for file in sorted(folder.iterdir())] == [f"tensors-{n:06d}.parquet" for n in range(3)]
    assert steps_read(folder) == (list(range(12)), 240)


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
    array = writer.arrow_array(pyarrow.float32(), [1e300, -1e300, float("inf"), float("nan"), 1e-30])
    values = array.to_pylist()
    assert numpy.isfinite(values[:2]).all()
    assert values[2] == float("inf")
    assert values[4] == pytest.approx(1e-30)


@pytest.mark.parametrize("table", [STEPS, TENSORS, ROWS, EVENTS], ids=lambda table: table.name)
def test_every_column_type_can_be_written(table):
    for field in arrow_schema(table):
        sample = (
            [[1, 2]] if pyarrow.types.is_list(field.type) else ["x"] if pyarrow.types.is_string(field.type) else [1]
        )
        assert writer.arrow_array(field.type, sample).type == field.type, field.name
