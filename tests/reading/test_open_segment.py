"""Plain segments that somebody else prepared, or that were torn: every whole frame is read, and nothing is unpacked
that weighs too much."""

import struct
import zlib

import numpy
import pytest

from gradaudit.reading.limits import Budget
from gradaudit.reading.run import load
from gradaudit.reading.segments import parts, read
from gradaudit.record.storage.closing import to_parquet
from gradaudit.schema import EVALUATIONS, STEPS, TABLES, Meta
from gradaudit.schema.plain_rows import FRAME_ROWS, MAGIC, MOST_STREAM, Ragged, as_array, framed, head, packed
from tests.build import build_run
from tests.reading.test_untrusted import analyzed

FILE = "rank00000/evaluations-000001.rows"


@pytest.fixture
def path(tmp_path):
    losses = [(step, "validation", 1.0) for step in range(5)]
    return build_run(tmp_path / "a", loss=numpy.linspace(2.3, 1.0, 50), evaluations=losses).path


def columns(first, rows=2, **changed):
    blank = {"string": "test", "bool": False}
    filled = {c.name: [[]] * rows if "list" in c.dtype else [blank.get(c.dtype, 0)] * rows for c in EVALUATIONS.columns}
    return {**filled, "pass": numpy.arange(first, first + rows), "batches": [1] * rows, **changed}


def frame(first, **changed):
    (found,) = framed(EVALUATIONS, columns(first, **changed))
    return found


def with_sum(data):
    """The frame with the CRC-32 that it should have."""
    return data[:4] + struct.pack("<I", zlib.crc32(data[8:])) + data[8:]


def changed_word(data, index, value):
    at = 16 + 4 * index
    return with_sum(data[:at] + struct.pack("<I", value) + data[at + 4 :])


def read_back(path):
    """(passes read of the segment, problems)."""
    problems = []
    found = list(parts(path, "evaluations", Meta(), problems, Budget()))
    passes = [number for part in found for number in read(part, EVALUATIONS, ["pass"]).column("pass").to_pylist()]
    return [number for number in passes if number >= 50], [problem.message for problem in problems]


def test_every_torn_tail_is_cut_at_the_last_whole_frame(path):
    frames = [frame(50), frame(52, mean_loss=[float("nan"), float("inf")]), frame(54)]
    whole = head(EVALUATIONS) + b"".join(frames)
    ends = numpy.cumsum([len(head(EVALUATIONS)), *map(len, frames)])
    for cut in range(len(whole) + 1):
        (path / FILE).write_bytes(whole[:cut])
        passes, problems = read_back(path)
        assert problems == [], cut
        assert passes == list(range(50, 50 + 2 * max(0, int((ends <= cut).sum()) - 1))), cut


def test_every_changed_byte_is_told_or_harmless(path):
    frames = [frame(50), frame(52)]
    whole = bytearray(head(EVALUATIONS) + b"".join(frames))
    for at in range(len(whole)):
        whole[at] ^= 0x41
        (path / FILE).write_bytes(whole)
        passes, problems = read_back(path)
        whole[at] ^= 0x41
        assert passes in ([], [50, 51]), at
        # A length that reaches beyond the end is a torn frame.
        assert problems or passes == [50, 51] or at < len(head(EVALUATIONS)) + 16, at
        assert all("\n" not in problem and len(problem) < 200 for problem in problems)


STREAMS = 10  # of evaluations: nine columns, of which one holds texts
LONGEST = (1 << 30) - 1


@pytest.mark.parametrize(
    "hostile",
    [
        lambda data: data[:8] + struct.pack("<Q", 2**60) + data[16:],
        lambda data: data[:4] + b"0000" + data[8:],
        lambda data: with_sum(data[:8] + struct.pack("<I", 0) + data[12:]),
        lambda data: with_sum(data[:8] + struct.pack("<I", 2**31) + data[12:]),
        lambda data: with_sum(data[:8] + struct.pack("<I", 30_000) + data[12:]),
        lambda data: with_sum(data[:12] + struct.pack("<I", 8) + data[16:24]),
        lambda data: changed_word(data, 0, LONGEST),
        lambda data: changed_word(data, 0, 3 << 30 | struct.unpack_from("<I", data, 16)[0] & LONGEST),
        lambda data: changed_word(data, 3, 2 << 30 | struct.unpack_from("<I", data, 28)[0] & LONGEST),
        lambda data: b"rows" + data[4:],
        lambda data: bytes(len(data)),
        lambda data: frame(60, split=["a", "b"]).replace(b"ab", b"\xff\xfe"),
        lambda data: with_sum(frame(60, split=["a", "b"]).replace(b"ab", b"\xff\xfe")),
    ],
)  # fmt: skip
def test_a_frame_that_is_not_sound_ends_the_segment(path, hostile):
    (path / FILE).write_bytes(head(EVALUATIONS) + frame(50) + hostile(frame(60)) + frame(70))
    code, complaint, _ = analyzed(path)
    assert (code, complaint) == (0, "")
    passes, problems = read_back(path)
    assert passes == [50, 51]
    assert problems == [f"{FILE} is damaged, and was left out from there on"]
    to_parquet(path / "rank00000", lambda: True)
    assert read_back(path) == (passes, problems), "what is damaged stays as it is"


def of_columns(text, length=None):
    return struct.pack("<8sII", MAGIC, len(text) if length is None else length, zlib.crc32(text)) + text


@pytest.mark.parametrize(
    ("beginning", "reason"),
    [
        (b"something else", "holds no rows"),
        (of_columns(b"[]", 2**31), "holds no rows"),
        (of_columns(b"[[1, 2]]"), "columns are none"),
        (of_columns(b"[" * 60_000), "columns are none"),
        (of_columns(b'[["pass", "array"]]'), "columns that no recorder writes"),
        (of_columns(b'[["pass", "list<string>"]]'), "columns that no recorder writes"),
        (of_columns(b'[["pass", "list<list<int8>>"]]'), "columns that no recorder writes"),
        (of_columns(b"[" + b",".join(b'["a","bool"]' for _ in range(300)) + b"]"), "columns that no recorder writes"),
        (of_columns(b'[["pass", "int32"]]'), "no column split"),
        (head(EVALUATIONS).replace(b"int64", b"int63"), "not as they were written"),
        (head(STEPS), "no column pass"),
        (of_columns(head(EVALUATIONS)[16:].replace(b'"targets"', b'"pass"')), "2 columns are called pass"),
        (of_columns(head(EVALUATIONS)[16:].replace(b'"pass","int32"', b'"pass","float32"')), "column pass is float"),
    ],
)
def test_a_file_of_other_columns_is_left_out(path, beginning, reason):
    (path / FILE).write_bytes(beginning + frame(50))
    passes, (problem,) = read_back(path)
    assert passes == []
    assert reason in problem
    assert "left out" in problem
    assert "\n" not in problem


def test_a_column_that_is_not_known_is_not_unpacked(path):
    extra = [*([c.name, c.dtype] for c in EVALUATIONS.columns), ["later", "list<float64>"]]
    text = str(extra).replace("'", '"').encode()
    kept = [as_array(c.dtype, columns(50)[c.name]) for c in EVALUATIONS.columns]
    later = Ragged(numpy.full(2, 1_000_000, "<u4"), numpy.zeros(2_000_000))
    (path / FILE).write_bytes(of_columns(text) + b"".join(packed([*kept, later])))
    assert read_back(path) == ([50, 51], [])


def test_the_frames_of_a_bomb_are_not_unpacked(path):
    """A megabyte of file: texts of 16 MB in each of many frames, 16 GB in all."""
    length = MOST_STREAM // 2
    word = struct.pack("<I", length)
    texts = zlib.compress(b"x" * 2 * length, 9, -15)
    streams = []
    for column in EVALUATIONS.columns:
        width = as_array(column.dtype, [0]).itemsize if column.dtype != "string" else 4
        streams += [(1, bytes(width))] if column.dtype != "string" else [(1, word), (2, texts)]
    words = struct.pack(f"<{STREAMS}I", *(how << 30 | len(content) for how, content in streams))
    body = words + b"".join(content for _, content in streams)
    hostile = with_sum(b"ROWS0000" + struct.pack("<II", 2, len(body)) + body)
    (path / FILE).write_bytes(head(EVALUATIONS) + hostile * 1000)
    assert (path / FILE).stat().st_size < 20_000_000
    code, complaint, peak = analyzed(path)
    assert (code, complaint) == (0, "")
    assert peak < 700
    (problem,) = load(path).problems
    assert "it takes" in problem.message


def test_constants_of_more_rows_than_there_is_room_for(path):
    rows = FRAME_ROWS
    blank = {c.name: numpy.zeros(rows) if not c.dtype.startswith("list") else [[]] * rows for c in STEPS.columns}
    (one,) = framed(STEPS, blank)
    (path / "rank00000" / "steps-000001.rows").write_bytes(head(STEPS) + one * 1000)
    assert len(one) < 400
    code, complaint, peak = analyzed(path)
    assert code == 2
    (line,) = complaint.splitlines()
    assert "MB in memory" in line
    assert peak < 1000


def test_values_of_every_kind_come_back(tmp_path):
    """Also when they are put together, and as a Parquet file."""
    folder = tmp_path / "rank00000"
    folder.mkdir()
    generator = numpy.random.default_rng(0)
    for table in TABLES.values():
        values = {column.name: sample(column.dtype, generator) for column in table.columns}
        content = head(table) + b"".join(framed(table, values))
        (folder / f"{table.name}-000000.rows").write_bytes(content)
    names = {table.name: [column.name for column in table.columns] for table in TABLES.values()}

    def all_read():
        found = {}
        for name, table in TABLES.items():
            problems = []
            (part,) = parts_unchecked(folder, table)
            found[name] = part.select(names[name]).to_pydict()
            assert problems == []
        return found

    def parts_unchecked(folder, table):
        import pyarrow.parquet

        from gradaudit.record.storage.closing import _table

        closed = folder / f"{table.name}-000000.parquet"
        yield pyarrow.parquet.read_table(closed) if closed.exists() else _table(closed.with_suffix(".rows"), table)

    before = all_read()
    to_parquet(folder, lambda: True)
    assert {file.suffix for file in folder.iterdir()} == {".parquet"}
    assert str(all_read()) == str(before)
    for name, table in TABLES.items():
        generator = numpy.random.default_rng(0) if name == next(iter(TABLES)) else generator
        for column in table.columns:
            known = sample(column.dtype, generator)
            assert len(before[name][column.name]) == len(known)
            for found, value in zip(before[name][column.name], known, strict=True):
                assert same(found, value, column.dtype), (name, column.name)


def sample(dtype, generator, rows=300):
    if dtype == "string":
        return ["", "naïve", "x" * 500, "\u2028"] * (rows // 4)
    if dtype.startswith("list<"):
        return [sample(dtype[5:-1], generator, rows=4)[: n % 5] for n in range(rows)]
    if dtype == "bool":
        return (generator.random(rows) < 0.5).tolist()
    if "float" in dtype:
        values = generator.normal(size=rows).astype(dtype)
        values[:4] = [numpy.nan, numpy.inf, -numpy.inf, -0.0]
        return values.tolist()
    limits = numpy.iinfo(dtype)
    values = generator.integers(limits.min, limits.max, rows, dtype=dtype, endpoint=True)
    values[:2] = [limits.min, limits.max]
    return values.tolist()


def same(found, value, dtype):
    if isinstance(value, list):
        return len(found) == len(value) and all(map(same, found, value, [dtype[5:-1]] * len(value)))
    return found == value or (found != found and value != value)
