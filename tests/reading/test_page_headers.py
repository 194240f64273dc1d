"""What the footer and the pages of a Parquet file say: read by number and type, and never otherwise than by pyarrow."""

import pyarrow
import pyarrow.parquet
import pytest

from gradaudit.reading.page_headers import chunks, unpacked
from gradaudit.reading.run import load
from gradaudit.reading.thrift import I32, I64, LIST, Reader
from tests.build import build_run

NESTED_LISTS = b"\x19" * 5000  # a field that is a list of one list of one list ...


@pytest.fixture
def parquet(tmp_path):
    table = pyarrow.table({"step": list(range(100)), "name": ["a", "b"] * 50, "values": [[1.0, 2.0]] * 100})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet", row_group_size=40)
    return tmp_path / "x.parquet"


def test_they_are_those_of_pyarrow(parquet):
    with parquet.open("rb", buffering=0) as file:
        groups = chunks(file)
        assert [[(chunk.name, chunk.rows, chunk.values) for chunk in group] for group in groups] == [
            [("step", rows, rows), ("name", rows, rows), ("values", rows, 2 * rows)] for rows in (40, 40, 20)
        ]
        assert unpacked(file, groups[0][0], lambda: None) >= 40 * 8 / 3  # numbers of few bits, but not none


def test_a_list_has_the_entries_of_the_schema():
    """A reader that knows the schema reads these four bytes as two numbers of 16 bits, one that does not as four."""
    data = b"\x19\x23\x81\x01\x00"
    assert dict(Reader(data).struct()) == {(1, LIST): [0x81, 1]}
    with pytest.raises(ValueError, match="damaged"):
        dict(Reader(data, {(1,): I32}).struct())


def test_fields_of_another_type_are_others():
    """Thrift skips what has not the type of the schema, and so must who weighs."""
    assert dict(Reader(b"\x15\x0a\x16\x0c\x00").struct()) == {(1, I32): 5, (2, I64): 6}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x15\x0a\x06\x02\x0c\x00", id="a number that stands twice"),
        pytest.param(b"\x25\x0a\x05\x02\x0c\x00", id="a number that goes down"),
        pytest.param(b"\x05\x86\x80\x08\x0c\x00", id="a number beyond 16 bits, which wraps to 3"),
        pytest.param(NESTED_LISTS, id="lists in lists"),
        pytest.param(b"\x1c" * 5000, id="structs in structs"),
        pytest.param(b"\x19\x1c\x19" * 2000, id="both in turn"),
    ],
)
def test_what_two_readers_could_take_for_two_things_is_damage(data):
    with pytest.raises((ValueError, IndexError)):
        dict(Reader(data).struct())


def test_a_footer_of_lists_within_lists_is_left_out(tmp_path):
    build_run(tmp_path / "run", loss=[2.0, 1.0])
    file = tmp_path / "run" / "rank00000" / "steps-000001.parquet"
    file.write_bytes(b"PAR1" + NESTED_LISTS + len(NESTED_LISTS).to_bytes(4, "little") + b"PAR1")
    run = load(tmp_path / "run")
    assert len(run.steps) == 2
    assert any("steps-000001.parquet is damaged and was left out" in problem.message for problem in run.problems)


def test_a_page_header_of_lists_within_lists_is_left_out(tmp_path):
    build_run(tmp_path / "run", loss=[2.0, 1.0])
    file = tmp_path / "run" / "rank00000" / "steps-000000.parquet"
    data = bytearray(file.read_bytes())
    data[4 : 4 + 60] = b"\x19" * 60
    file.with_name("steps-000001.parquet").write_bytes(data)
    run = load(tmp_path / "run")
    assert any("steps-000001.parquet is damaged and was left out" in problem.message for problem in run.problems)
