"""The limits of a run that somebody else sent: what lies beyond them is left out and named, and sizes nothing."""

import json

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from gradaudit import guard
from gradaudit.guard import Refused
from gradaudit.reading.limits import LENGTHS, MOST_FACTS, MOST_WEIGHT, NUMBERS, weight_of_facts
from gradaudit.reading.run import load
from gradaudit.reading.run_file import RunError
from tests.build import build_run, linear_stack, write_table
from tests.reading.test_untrusted import analyzed, zeros

FALLING = numpy.linspace(2.3, 1.0, 50)


@pytest.fixture
def path(tmp_path):
    evaluations = [(step, "validation", 1.0 + step) for step in range(5)]
    return build_run(tmp_path / "run", loss=FALLING, evaluations=evaluations).path


def change_facts(path, *keys, value):
    whole = json.loads((path / "run.json").read_text())
    place = whole
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (path / "run.json").write_text(json.dumps(whole))


FAR = {
    "a tensor's number": (("tensors", 0, "id"), 2**31),
    "a shape of more than any memory": (("tensors", 0, "shape"), [2**40, 2**40]),
    "a shape below zero": (("tensors", 0, "shape"), [-1]),
    "a shape of 65 dimensions": (("tensors", 0, "shape"), [1] * 65),
    "probed elements below unknown": (("tensors", 0, "probed"), -2),
    "probed elements beyond any": (("tensors", 0, "probed"), 2**54),
    "a number of 400 digits": (("pid",), 10**400),
    "a process below zero": (("pid",), -1),
    "ranks without end": (("world_size",), 2**40),
    "no rank": (("world_size",), 0),
    "a rank of six digits": (("rank",), 100_000),
    "the attempt": (("attempt",), 1001),
    "a count of labels below zero": (("losses", 0, "label_counts"), [-5]),
    "a fraction beyond 1e300": (("losses", 0, "target_mean"), 1e301),
}


@pytest.mark.parametrize("case", FAR)
def test_facts_beyond_their_limits_are_refused(path, case):
    keys, value = FAR[case]
    change_facts(path, *keys, value=value)
    with pytest.raises(RunError, match=r"run\.json is damaged") as caught:
        load(path)
    assert len(str(caught.value)) < 400


def test_every_limit_names_a_fact():
    import msgspec

    from gradaudit import schema

    kinds = [kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]
    fields = {field for kind in kinds for field in kind.__struct_fields__}
    assert set(NUMBERS) | set(LENGTHS) <= fields


@pytest.mark.parametrize("name", ["unknown", "format_version", "tensors"])
def test_deep_facts_are_refused(path, name):
    (path / "run.json").write_text(f'{{"{name}": {"[" * 1_000_000}{"]" * 1_000_000}}}')
    with pytest.raises(RunError):
        load(path)


def test_facts_are_weighed_before_they_are_made():
    text = json.dumps([{"id": 0, "name": ""}] * 20_000).encode()
    assert 20_000 * 400 < weight_of_facts(text) < MOST_FACTS


def rewrite(path, name, change):
    file = path / "rank00000" / f"{name}-000000.parquet"
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(file)), file)


def typed(column, kind):
    def change(table):
        index = table.column_names.index(column)
        return table.set_column(index, column, pyarrow.array([kind] * len(table)))

    return change


SCHEMAS = {
    "a text is missing": (lambda table: table.drop_columns(["split"]), "no column split"),
    "a key is missing": (lambda table: table.drop_columns(["pass"]), "no column pass"),
    "a column twice": (lambda table: table.append_column("loss", table.column("loss")), "2 columns are called loss"),
    "a text in place of a number": (typed("targets", "many"), "column targets is string"),
    "a number in place of a text": (typed("split", 7), "column split is int64"),
    "a list in place of a number": (typed("mean_loss", [1.0]), "column mean_loss is list"),
    "a struct": (typed("time", {"x": 1.0}), "column time is struct"),
    "a null in a key": (
        lambda table: table.set_column(0, "pass", pyarrow.array([None, 1, 2, 3, 4], pyarrow.int32())),
        "1 of its rows have no pass",
    ),
    "a number too far": (typed("targets", 2**60), "column targets holds"),
    "a number that does not fit": (typed("batches", 2**40), "damaged"),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_a_table_of_other_columns_is_left_out_and_named(path, case):
    change, reason = SCHEMAS[case]
    rewrite(path, "evaluations", change)
    run = load(path)
    assert len(run.evaluations) == 0
    (problem,) = run.problems
    assert problem.message.startswith("rank00000/evaluations-000000.parquet ")
    assert problem.table == "evaluations"
    assert "left out" in problem.message
    assert reason in problem.message


@pytest.mark.long
def test_many_small_segments_share_one_budget(path):
    """Three megabytes in forty files, each of a size that one may have: 2 GB."""
    folder = path / "rank00000"
    pyarrow.parquet.write_table(zeros("tensors", 500_000), folder / "tensors-000001.parquet", compression="zstd")
    for number in range(2, 42):
        (folder / f"tensors-{number:06d}.parquet").write_bytes((folder / "tensors-000001.parquet").read_bytes())
    code, complaint, peak = analyzed(path)
    assert (code, complaint) == (0, "")
    assert peak < 1000
    run = load(path)
    assert any("MB are left" in problem.message for problem in run.problems)
    rows = sum(len(part) for part in run.parts["tensors"])
    assert 5_000_000 < rows < MOST_WEIGHT / 50


def test_pages_that_unpack_to_more_than_the_footer_says_are_refused(path):
    """The sizes in a footer are the file's own word; a page's header is what is unpacked."""
    file = path / "rank00000" / "rows-000000.parquet"
    table = zeros("rows", 20_000_000 // 8)
    pyarrow.parquet.write_table(table, file, compression="zstd", use_dictionary=False, data_page_size=1 << 30,
                                max_rows_per_page=1 << 30, row_group_size=1 << 30)  # fmt: skip
    run = load(path)
    assert any("rows-000000.parquet was left out" in problem.message for problem in run.problems)


def test_a_tensor_number_sizes_nothing(path):
    def far(table):
        numbers = table.column("tensor").to_numpy().copy()
        numbers[-1] = 2**31 - 1
        return table.set_column(2, "tensor", pyarrow.array(numbers, pyarrow.int32()))

    rewrite(path, "tensors", far)
    run = load(path)
    norms = run.trainings[0].matrix("gradient_norm")
    assert norms.shape == (50, 8)
    assert numpy.isnan(norms).sum() == 1


def test_matrices_of_nothing_are_not_made(tmp_path):
    """30,000 steps that each recorded another one of 5,000 tensors."""
    tensors, count = linear_stack(depth=2500, width=2), 30_000
    path = build_run(tmp_path / "run", loss=[1.0], tensors=tensors).path
    table = zeros("tensors", count)
    table = table.set_column(1, "step", pyarrow.array(numpy.arange(count)))
    table = table.set_column(2, "tensor", pyarrow.array(numpy.arange(count) % 5000, pyarrow.int32()))
    pyarrow.parquet.write_table(table, path / "rank00000" / "tensors-000001.parquet")
    run = load(path)
    assert any("table tensors was left out" in problem.message for problem in run.problems)
    assert not run.has("tensors")


def test_a_run_of_more_optimizers_than_any_is_left_out(path):
    table = zeros("steps", 20_000)
    table = table.set_column(0, "optimizer", pyarrow.array(numpy.arange(20_000) % 20_000, pyarrow.int16()))
    pyarrow.parquet.write_table(table, path / "rank00000" / "steps-000001.parquet")
    with pytest.raises(RunError, match="names 20,000 optimizers"):
        load(path)


def test_of_rows_with_one_key_the_last_one_wins(path):
    """An evaluation pass is written several times while it grows."""
    import pandas

    rows = {"pass": [9, 9, 9, 10], "split": ["validation", "test", "validation", "validation"], "after_step": 49,
            "mean_loss": [5.0, 6.0, 7.0, 8.0], "targets": [10, 20, 30, 40], "training": 0, "loss": 0}  # fmt: skip
    write_table(path / "rank00000", "evaluations", pandas.DataFrame(rows), segment=1)
    later = {**rows, "mean_loss": 9.0, "targets": 99}
    write_table(path / "rank00000", "evaluations", pandas.DataFrame(later).iloc[3:], segment=2)
    found = load(path).evaluations
    found = found[found["pass"] >= 9]
    assert found[["pass", "split", "mean_loss", "targets"]].values.tolist() == [
        [9, "test", 6.0, 20], [9, "validation", 7.0, 30], [10, "validation", 9.0, 99],
    ]  # fmt: skip


def test_steps_out_of_order_and_twice_come_back_in_order_and_once(path):
    rewrite(
        path,
        "steps",
        lambda table: pyarrow.concat_tables([table.take(pyarrow.array(range(49, -1, -1))), table.slice(3, 4)]),
    )
    run = load(path)
    assert run.steps["step"].tolist() == list(range(50))
    assert run.steps["mean_loss"].tolist() == pytest.approx(FALLING.tolist())


def test_a_segment_that_changes_hands_is_not_read(path):
    from gradaudit.schema import UserError

    run = load(path)
    file = path / "rank00000" / "evaluations-000000.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UserError, match="changed while the run was read"):
        run.evaluations  # noqa: B018


def test_no_more_is_read_than_allowed(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 100)
    assert guard.content(tmp_path, "a", most=100) == b"x" * 100
    with pytest.raises(Refused, match="no recorder writes that much"):
        guard.content(tmp_path, "a", most=99)


@pytest.mark.parametrize("place", [("link",), ("folder", "inside"), ("pipe",), ("socket",), ("folder-of-files",)])
def test_nothing_but_a_file_of_its_own_is_opened(tmp_path, place):
    import os
    import socket

    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "inside").write_text("x")
    (run / "link").symlink_to(tmp_path / "secret" / "inside")
    (run / "folder").symlink_to(tmp_path / "secret")
    (run / "folder-of-files").mkdir()
    os.mkfifo(run / "pipe")
    before = os.getcwd()
    os.chdir(run)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("socket")
    os.chdir(before)
    opened = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Refused):
        guard.opened(run, *place, most=100)
    assert len(os.listdir("/proc/self/fd")) == opened
