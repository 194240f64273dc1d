"""The wheel, installed where the repository cannot be seen: complete, and able to draw a report."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.build import build_run

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel made from it as a user's pip would."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A function that runs Python with the installed wheel and the dependencies, but not the repository."""
    target = tmp_path_factory.mktemp("installed")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(built[1])], check=True, capture_output=True)
    # -S leaves out site-packages, whose .pth files may put the repository on the path.
    path = os.pathsep.join([str(target), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            env={**os.environ, "PYTHONPATH": path}, cwd=target, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_the_installed_package_is_not_the_repositorys(installed):
    done = installed("-c", "import gradaudit; print(gradaudit.__file__)")
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).is_relative_to(ROOT)


def test_the_installed_program_shows_its_help(installed):
    done = installed("-m", "gradaudit", "--help")
    assert done.returncode == 0, done.stderr
    assert "analyze" in done.stdout


def test_the_installed_program_draws_a_report(installed, tmp_path):
    run = build_run(tmp_path / "run", loss=[2.3, 2.0, 1.5, 1.2, 1.0]).path
    done = installed("-m", "gradaudit", "analyze", str(run))
    assert done.returncode == 0, done.stdout + done.stderr
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "</html>" in page
    assert "<style" in page


def test_the_wheel_holds_what_it_needs_and_nothing_else(built):
    names = zipfile.ZipFile(built[1]).namelist()
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert {
        "gradaudit/audit/base_rates.json",
        "gradaudit/report/audit.schema.json",
    } <= set(names)
    shipped = {f"gradaudit/templates/{path.name}" for path in (ROOT / "templates").iterdir() if path.is_file()}
    assert shipped
    assert shipped <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gradaudit"}
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_the_wheel_holds_every_module(built):
    names = set(zipfile.ZipFile(built[1]).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gradaudit").rglob("*.py")}
    assert modules - names == set()


def test_the_source_archive_can_be_built_from(built):
    with tarfile.open(built[0]) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "gradaudit/__init__.py"} <= inside
