"""The program as a whole: light to start, and every failure one line."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from gradaudit.__main__ import main
from gradaudit.commands.errors import Program

HEAVY = {"torch", "pandas", "pyarrow", "altair", "jinja2", "numpy", "vl_convert"}


def modules_after(code):
    code = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("code", ["import gradaudit", "import gradaudit.__main__"])
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    assert modules_after(code) & HEAVY == set()


@pytest.mark.parametrize("arguments", ["[]", "['--help']", "['record', '--help']", "['analyze', '--help']"])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import contextlib, io\nfrom gradaudit.__main__ import main\n"
        f"with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main({arguments})"
    )
    assert modules_after(code) & HEAVY == set()


def failing(error):
    @click.group(cls=Program)
    def program():
        pass

    @program.command()
    def work():
        raise error

    return CliRunner().invoke(program, ["work"], prog_name="gradaudit")


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (PermissionError(13, "Permission denied", "/x/y"), "gradaudit: /x/y: Permission denied", 2),
        (OSError(28, "No space left on device"), "gradaudit: No space left on device", 2),
        (KeyboardInterrupt(), "gradaudit: interrupted", 130),
    ],
)
def test_a_failure_is_one_line(error, line, code):
    result = failing(error)
    assert (result.stderr.strip(), result.exit_code) == (line, code)


def test_a_bug_keeps_its_traceback_and_is_not_mistaken_for_findings():
    result = failing(ZeroDivisionError("ours"))
    assert "ZeroDivisionError: ours" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("gradaudit: this is a bug")
    assert result.exit_code == 2


def test_the_shell_is_offered_the_commands():
    from gradaudit.__main__ import main

    asked = {"_GRADAUDIT_COMPLETE": "bash_complete", "COMP_WORDS": "gradaudit an", "COMP_CWORD": "1"}
    result = CliRunner().invoke(main, [], prog_name="gradaudit", env=asked)
    assert result.stdout == "plain,analyze\n"


@pytest.mark.parametrize("arguments", [["--nothing"], ["nothing"]])
def test_an_unknown_command_is_one_line(arguments):
    from gradaudit.__main__ import main

    result = CliRunner().invoke(main, arguments, prog_name="gradaudit")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "nothing" in result.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("gradaudit explain over", ["overfitting"]),
        ("gradaudit analyze --select learning_rate_too_", ["learning_rate_too_high", "learning_rate_too_low"]),
        ("gradaudit analyze --ignore zzz", []),
        ("gradaudit analyze --show-c", ["--show-config"]),
    ],
)
def test_the_shell_completes_diagnosers_and_options(words, offered):
    environment = {"_GRADAUDIT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = CliRunner().invoke(main, prog_name="gradaudit", env=environment)
    assert [line.partition(",")[2] for line in done.stdout.split()] == offered
