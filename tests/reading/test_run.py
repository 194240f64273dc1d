import os

import numpy
import pytest

from gradaudit.reading.run import load
from gradaudit.reading.run_file import RunError
from gradaudit.schema import TensorFacts
from tests.build import build_run, linear_stack


def test_a_run_comes_back_as_it_was_written(tmp_path):
    tensors = linear_stack(depth=2)
    norms = numpy.arange(5 * 4, dtype=float).reshape(5, 4)
    run = build_run(tmp_path / "x", loss=[5, 4, 3, 2, 1], tensors=tensors, stats={"gradient_norm": norms})
    assert run.state == "finished"
    assert list(run.steps["mean_loss"]) == [5, 4, 3, 2, 1]
    assert [tensor.name for tensor in run.trainings[0].tensors] == [tensor.name for tensor in tensors]
    assert numpy.array_equal(run.trainings[0].matrix("gradient_norm"), norms)
    assert list(run.trainings[0].recorded) == [0, 1, 2, 3, 4]
    assert run.has("tensors.gradient_norm")
    assert not run.has("evaluations")


def test_columns_of_the_matrix_follow_depth_not_identifiers(tmp_path):
    tensors = [TensorFacts(id=0, name="late", depth=9), TensorFacts(id=1, name="early", depth=1)]
    run = build_run(tmp_path / "x", loss=[1.0], tensors=tensors, stats={"gradient_norm": [[7.0, 3.0]]})
    assert [tensor.name for tensor in run.trainings[0].tensors] == ["early", "late"]
    assert run.trainings[0].matrix("gradient_norm").tolist() == [[3.0, 7.0]]


def test_a_truncated_part_is_left_out_and_named(tmp_path):
    run = build_run(tmp_path / "x", loss=[1.0, 2.0])
    part = run.path / "rank00000" / "tensors-000000.parquet"
    part.write_bytes(part.read_bytes()[:-50])
    again = load(run.path)
    assert any("tensors-000000.parquet is damaged" in problem.message for problem in again.problems)
    assert again.trainings[0].matrix("gradient_norm").shape[0] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such run"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: path.mkdir(), "is not a run"),
        (lambda path: (path.mkdir(), (path / "launch.json").write_text("{}")), "the recorder never started"),
        (lambda path: (path.mkdir(), (path / "run.json").write_text("{")), "is damaged"),
        (lambda path: (path.mkdir(), (path / "run.json").write_text('{"format_version": 99}')), "upgrade gradaudit"),
        (lambda path: (path.mkdir(), (path / "run.json").write_text("{}")), "rank00000 is missing"),
        (
            lambda path: ((path / "rank00000").mkdir(parents=True), (path / "run.json").write_text("{}")),
            "holds no optimizer step",
        ),
        (lambda path: (path / "rank00000").mkdir(parents=True), "run.json is missing"),
    ],
)
def test_what_is_not_a_run_is_refused_in_one_line(tmp_path, make, message):
    path = tmp_path / "x"
    make(path)
    with pytest.raises(RunError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ended", "state", "code"),
    [
        ('{"pid": 7, "exit_code": 0}', "finished", 0),
        ('{"pid": 7, "exit_code": 3}', "failed", 3),
        ('{"pid": 7, "exit_code": 130}', "interrupted", 130),
        ('{"pid": 7, "signal": 2}', "interrupted", None),
        ('{"pid": 7, "signal": 11}', "killed", None),
        ('{"pid": 8, "exit_code": 3}', "finished", None),  # the command's, which started the training's process
        ('{"pid": 7}', "finished", None),
        ('{"pid": 7, "exit_code": -1}', "finished", None),
        ('{"pid": 7, "exit_code": "3"}', "finished", None),
        ('{"pid": 7, "exit_code": 1e9}', "finished", None),
        ("[" * 50_000, "finished", None),
        ("[7, 3]", "finished", None),
        ("", "finished", None),
    ],
)
def test_the_state_is_how_the_process_was_seen_to_end(tmp_path, ended, state, code):
    run = build_run(tmp_path / "x", loss=[1.0], pid=7)
    (run.path / "ended.json").write_text(ended)
    run = load(run.path)
    assert (run.state, run.exit_code) == (state, code)


def test_how_a_command_ended_is_read_from_a_plain_file_only(tmp_path):
    run = build_run(tmp_path / "x", loss=[1.0], pid=7)
    (tmp_path / "elsewhere").write_text('{"pid": 7, "exit_code": 3}')
    (run.path / "ended.json").symlink_to(tmp_path / "elsewhere")
    assert load(run.path).state == "finished"
    (run.path / "ended.json").unlink()
    os.mkfifo(run.path / "ended.json")
    assert load(run.path).state == "finished"


def test_names_with_control_characters_come_back_visible(tmp_path):
    run = build_run(tmp_path / "x", loss=[1.0], tensors=[TensorFacts(id=0, name="a\x1b[31m\u202eb")])
    assert run.meta.tensors[0].name == "a\\x1b[31m\\u202eb"
