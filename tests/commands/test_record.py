"""`gradaudit record`: which words belong to us and which to the script."""

import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from gradaudit.__main__ import main
from gradaudit.schema import UserError


@pytest.fixture
def launched(monkeypatch):
    """What `launch` was called with; the real one replaces the process."""
    calls = []

    def launch(command, **options):
        calls.append((command, options))
        raise SystemExit(0)

    module = types.ModuleType("gradaudit.record.launch")
    module.launch = launch
    monkeypatch.setitem(sys.modules, "gradaudit.record.launch", module)
    return calls


def record(*arguments):
    return CliRunner().invoke(main, ["record", *arguments], prog_name="gradaudit")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["train.py"], ["train.py"]),
        (["train.py", "--lr", "0.1", "-o", "x", "-m", "y"], ["train.py", "--lr", "0.1", "-o", "x", "-m", "y"]),
        (["train.py", "--help"], ["train.py", "--help"]),
        (["train.py", "--", "--lr"], ["train.py", "--", "--lr"]),
        (["train.py", "--quiet", "--force"], ["train.py", "--quiet", "--force"]),
        (["-m", "package.train", "--lr", "1"], ["-m", "package.train", "--lr", "1"]),
        (["-m", "package.train", "-m", "x"], ["-m", "package.train", "-m", "x"]),
        (["--", "torchrun", "--nproc", "2", "train.py"], ["--", "torchrun", "--nproc", "2", "train.py"]),
        (["--", "python", "--", "x"], ["--", "python", "--", "x"]),
        (["train.py", ""], ["train.py", ""]),
    ],
)
def test_what_follows_the_script_is_the_scripts(launched, arguments, command):
    result = record("-o", "there", *arguments)
    assert result.exit_code == 0, result.output
    options = {"directory": Path("there"), "every": None, "budget": 1.0, "quiet": False, "force": False}
    assert launched == [(command, {**options, "host": True, "activations": False, "closely": None, "data": True})]


def test_options_before_the_script_are_ours(launched):
    given = [
        "--every",
        "5",
        "--budget",
        "2.5",
        "--activations",
        "--closely",
        "3:7",
        "--quiet",
        "--force",
        "--no-host",
        "--no-data",
    ]
    record("--output", "d", *given, "train.py")
    options = {"directory": Path("d"), "every": 5, "budget": 2.5, "quiet": True, "force": True}
    assert launched == [
        (["train.py"], {**options, "host": False, "activations": True, "closely": (3, 7), "data": False})
    ]


def test_the_folder_is_left_to_the_launcher_when_not_given(launched):
    record("train.py")
    assert launched[0][1]["directory"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to record"),
        (["--"], "nothing to record"),
        (["-m"], "nothing to record"),
        (["--evry", "5", "train.py"], "--evry"),
        (["--every", "0", "train.py"], "--every"),
        (["--budget", "0", "train.py"], "not a percentage"),
        (["--budget", "-1", "train.py"], "not a percentage"),
        (["--budget", "101", "train.py"], "not a percentage"),
        (["--budget", "nan", "train.py"], "not a percentage"),
        (["--budget", "little", "train.py"], "--budget"),
        (["-m", "--", "package"], "give one of them"),
    ],
)
def test_a_wrong_option_is_one_line_and_starts_nothing(launched, arguments, words):
    result = record(*arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert launched == []


def test_what_the_launcher_refuses_is_one_line(launched, monkeypatch):
    def launch(command, **options):
        raise UserError("runs/x holds an earlier run; --force overwrites it")

    monkeypatch.setattr(sys.modules["gradaudit.record.launch"], "launch", launch)
    result = record("train.py")
    assert result.exit_code == 2
    assert result.stderr == "gradaudit: runs/x holds an earlier run; --force overwrites it\n"
