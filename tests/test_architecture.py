"""The house: import directions, who knows torch, the size of files, nothing of the author's machine."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gradaudit"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 300  # lines; a longer file holds two subjects
LONGEST_FUNCTION = 60  # lines; a Triton kernel is one function, since it calls no others

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def imports(path):
    """The modules that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno}: imports are absolute"
            yield node.module


def top_level(module):
    return module.partition(".")[0]


def test_import_contracts_hold():
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_record_imports_torch():
    knowing = {path.relative_to(PACKAGE).parts[0] for path in MODULES if "torch" in map(top_level, imports(path))}
    assert knowing == {"record"}


@each_module
def test_a_module_opens_with_what_it_holds(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path.relative_to(ROOT)} has no docstring"


def lines_below_the_docstring(path):
    """A module's lines without its docstring: a diagnoser's is a page for users."""
    text = path.read_text(encoding="utf-8")
    docstring = ast.parse(text).body[:1]
    return len(text.splitlines()) - (docstring[0].end_lineno if docstring else 0)


def test_modules_are_short():
    lengths = {str(path.relative_to(ROOT)): lines_below_the_docstring(path) for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}, "split these by subject"


@each_module
def test_functions_are_short(path):
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    kernels = [node for node in functions if any("triton" in ast.unparse(one) for one in node.decorator_list)]
    lengths = {node.name: node.end_lineno - node.lineno + 1 for node in functions if node not in kernels}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def test_no_file_holds_a_path_of_the_machine_it_was_written_on():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    files = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    assert len(files) > 20
    pattern = re.compile(b"|".join(re.escape(f"{path}/".encode()) for path in (ROOT, Path.home())))
    found = [
        f"{file.relative_to(ROOT)}: {match[0].decode()}"
        for file in files
        if file.is_file() and (match := pattern.search(file.read_bytes()))
    ]
    assert found == []


@each_module
def test_what_one_optimizer_did_is_handed_on_as_a_training(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        names = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
        assert not {"run", "optimizer"} <= names, f"{function.name} takes a run and an optimizer; it wants a Training"
