"""A run that somebody else sent: no link is followed, and nothing in it may take the memory of the reader."""

import os
import subprocess
import sys

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from gradaudit.reading.run import load
from gradaudit.reading.run_file import RunError
from gradaudit.reading.segments import Problem
from gradaudit.schema import TABLES, arrow_schema
from tests.build import build_run

FALLING = numpy.linspace(2.3, 1.0, 50)
CHILD = """
import pathlib, re, runpy, sys
sys.argv = ["gradaudit", "analyze", sys.argv[1], "--format", "terminal"]
try:
    runpy.run_module("gradaudit", run_name="__main__")
finally:
    # Not getrusage: across exec, its figure begins with that of the parent.
    status = pathlib.Path("/proc/self/status").read_text()
    print("PEAK", int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]) // 1024, file=sys.stderr)
"""


def analyzed(path):
    """(exit code, standard error, peak resident memory in MiB) of `gradaudit analyze` in a process of its own."""
    done = subprocess.run([sys.executable, "-c", CHILD, path], capture_output=True, text=True, timeout=120)
    complaint, _, peak = done.stderr.rpartition("PEAK ")
    return done.returncode, complaint, int(peak)


def zeros(name, rows):
    """A table of `name`, [rows] of zeros and empty lists."""
    columns = []
    for field in arrow_schema(TABLES[name]):
        if pyarrow.types.is_list(field.type):
            offsets = pyarrow.array(numpy.zeros(rows + 1, dtype=numpy.int32))
            columns.append(pyarrow.ListArray.from_arrays(offsets, pyarrow.array([], field.type.value_type)))
        else:
            columns.append(pyarrow.array(numpy.zeros(rows)).cast(field.type))
    return pyarrow.table(columns, schema=arrow_schema(TABLES[name]))


def test_a_gigabyte_of_zeros_is_not_unpacked(tmp_path):
    """A megabyte of file: the same million rows, written again and again."""
    path = build_run(tmp_path / "a", loss=FALLING).path
    file = path / "rank00000" / "steps-000000.parquet"
    part = zeros("steps", 1_000_000)
    with pyarrow.parquet.ParquetWriter(file, part.schema, compression="zstd") as writer:
        for _ in range(8):
            writer.write_table(part)
    del part
    assert file.stat().st_size < 2_000_000
    code, complaint, peak = analyzed(path)
    assert code == 2
    (line,) = complaint.splitlines()
    assert "rank00000/steps-000000.parquet was left out: it takes 1," in line
    assert "MB in memory" in line
    assert peak < 1000


def test_a_long_text_in_every_row_is_cut(tmp_path):
    """A megabyte in the dictionary of a column, and 100,000 rows that refer to it: 100 GB."""
    path = build_run(tmp_path / "a", loss=FALLING, evaluations=[(step, "validation", 1.0) for step in range(5)]).path
    count = 100_000
    table = zeros("evaluations", count).drop_columns(["split"])
    table = table.set_column(0, "pass", pyarrow.array(numpy.arange(count), pyarrow.int32()))
    split = pyarrow.DictionaryArray.from_arrays(numpy.zeros(count, dtype=numpy.int32), ["x" * 1_000_000])
    table = table.append_column("split", split)
    pyarrow.parquet.write_table(table, path / "rank00000" / "evaluations-000001.parquet")
    code, complaint, peak = analyzed(path)
    assert code == 0, complaint
    assert peak < 1000


@pytest.mark.parametrize("part", ["run.json", "rank00000", "rank00000/steps-000000.parquet", "rank00001"])
def test_no_link_is_followed(tmp_path, part):
    path = build_run(tmp_path / "a", loss=FALLING).path
    other = build_run(tmp_path / "b", loss=FALLING + 100).path
    (other / "rank00001").mkdir()
    (other / "rank00001" / "rank.json").write_bytes((other / "run.json").read_bytes())
    if (path / part).exists():
        (path / part).rename(tmp_path / "aside")
    (path / part).symlink_to(other / part)
    try:
        run = load(path)
    except RunError as error:
        assert "link" in str(error)  # noqa: PT017
    else:
        assert part == "rank00001"
        assert Problem("rank00001 is a link, or holds one, and was not followed") in run.problems
        assert run.steps["objective"].max() < 100


def test_a_pipe_is_not_waited_for(tmp_path):
    path = build_run(tmp_path / "a", loss=FALLING).path
    os.mkfifo(path / "rank00000" / "tensors-000009.parquet")
    os.mkfifo(path / "rank00000" / "steps-000009.rows")
    assert load(path).problems == (
        Problem("rank00000/steps-000009.rows is no file and was left out", "steps"),
        Problem("rank00000/tensors-000009.parquet is no file and was left out", "tensors"),
    )
    (path / "run.json").unlink()
    os.mkfifo(path / "run.json")
    with pytest.raises(RunError, match="it is no file"):
        load(path)


def test_facts_of_a_size_that_no_recorder_writes_are_refused(tmp_path):
    path = build_run(tmp_path / "a", loss=FALLING).path
    with (path / "run.json").open("ab") as file:
        file.truncate(1_000_000_000)
    code, complaint, peak = analyzed(path)
    assert code == 2
    assert "run.json has 1,000 MB" in complaint
    assert peak < 1000
