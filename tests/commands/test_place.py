"""Where outputs go: over the names in a run, never through them; and where the user says, outside."""

import os
import stat
import threading
from pathlib import Path

import pytest

from gradaudit.commands.output import OutputError, write
from tests.build import build_run
from tests.commands.test_analyze import QUIET_LOSS, SICK_LOSS, gradaudit, refused

NAMES = ("report.html", "audit.json", "report.md", "junit.xml", "compare.html", "compare.json", "audits.html")
MINE = "export PATH"


def a_link(name, victim):
    name.symlink_to(victim)


def a_relative_link(name, victim):
    name.symlink_to(os.path.relpath(victim, name.parent))


def a_hard_link(name, victim):
    name.hardlink_to(victim)


def a_chain(name, victim):
    name.with_name("next").symlink_to(victim)
    name.symlink_to("next")


def a_dangling_link(name, victim):
    name.symlink_to(victim.with_name("new"))


def a_loop(name, victim):
    name.symlink_to(name.name)


def a_link_to_a_folder(name, victim):
    name.symlink_to(victim.parent)


def a_link_to_a_device(name, victim):
    name.symlink_to("/dev/full")


def a_fifo(name, victim):
    os.mkfifo(name)


def a_socket(name, victim):
    os.mknod(name, stat.S_IFSOCK | 0o600)


TRAPS = (
    a_link, a_relative_link, a_hard_link, a_chain, a_dangling_link, a_loop, a_link_to_a_folder, a_link_to_a_device,
    a_fifo, a_socket,
)  # fmt: skip
each_trap = pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.__name__)


@pytest.fixture
def victim(tmp_path):
    """A file of the user, in a folder of its own."""
    file = tmp_path / "home" / "bashrc"
    file.parent.mkdir()
    file.write_text(MINE)
    return file


@pytest.fixture
def run(tmp_path):
    """What is a run for the one who writes into it."""
    (tmp_path / "run" / "rank00000").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    return tmp_path / "run"


def untouched(victim):
    return victim.read_text() == MINE and os.listdir(victim.parent) == [victim.name]


def written(file, text):
    """Whether it is a file of its own with this text."""
    status = file.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and file.read_text() == text


@each_trap
@pytest.mark.parametrize("name", NAMES)
def test_in_a_run_the_name_is_replaced(run, victim, name, trap):
    trap(run / name, victim)
    write(run / name, "page", run)
    assert written(run / name, "page")
    assert untouched(victim)
    assert not list(run.glob(".*"))


@each_trap
def test_a_default_name_beside_runs_is_replaced(tmp_path, victim, trap):
    trap(tmp_path / "audits.html", victim)
    write(tmp_path / "audits.html", "page", follow=False)
    assert written(tmp_path / "audits.html", "page")
    assert untouched(victim)


@pytest.mark.parametrize("trap", [a_link, a_chain, a_relative_link])
def test_a_link_of_the_user_that_leads_into_a_run_ends_there(tmp_path, run, victim, trap):
    trap(run / "report.html", victim)
    (tmp_path / "docs.html").symlink_to(run / "report.html")
    write(tmp_path / "docs.html", "page")
    assert written(run / "report.html", "page")
    assert (tmp_path / "docs.html").is_symlink()
    assert untouched(victim)


def test_a_link_on_the_way_through_a_run_is_refused(run, victim):
    (run / "part").symlink_to(victim.parent)
    with pytest.raises(OutputError, match="part is a link, and links in a run are not followed"):
        write(run / "part" / "bashrc", "page", run)
    assert untouched(victim)


def test_a_run_that_is_named_by_a_link_is_the_choice_of_the_user(tmp_path, run):
    (tmp_path / "latest").symlink_to(run)
    write(tmp_path / "latest" / "report.html", "page", tmp_path / "latest")
    assert written(run / "report.html", "page")


def test_outside_of_a_run_links_of_the_user_are_followed(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "docs").symlink_to("site")
    (tmp_path / "site" / "page.html").symlink_to("real.html")
    write(tmp_path / "docs" / "page.html", "page")
    assert written(tmp_path / "site" / "real.html", "page")
    assert (tmp_path / "site" / "page.html").is_symlink()


@pytest.mark.parametrize("part", ["run.json", "launch.json", "rank00000/x", "rank00000.1/x", "rank00000"])
@pytest.mark.parametrize("by", ["itself", "a link", "another run"])
def test_no_recording_is_written_over(tmp_path, run, part, by):
    (run / "rank00000.1").mkdir()
    if by == "a link":
        (tmp_path / "link").symlink_to(run / part)
    with pytest.raises(OutputError, match="part of the recording"):
        write(tmp_path / "link" if by == "a link" else run / part, "page", *([run] if by == "itself" else []))
    assert (run / "run.json").read_text() == "{}"


def test_a_fifo_of_the_user_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    heard = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "fifo").read_text()), daemon=True)
    reader.start()
    write(tmp_path / "fifo", "page")
    reader.join(20)
    assert heard == ["page"]


def test_an_open_file_of_the_user_is_written_to(tmp_path):
    """As a shell names it: -o /dev/stdout, -o >(gzip)."""
    read, end = os.pipe()
    write(Path(f"/dev/fd/{end}"), "page")
    os.close(end)
    assert os.read(read, 100) == b"page"
    with (tmp_path / "out").open("w") as file:
        file.write("before ")
        file.flush()
        write(Path(f"/proc/self/fd/{file.fileno()}"), "page")
    assert (tmp_path / "out").read_text() == "before page"


def test_links_in_a_circle_are_one_line(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="too many levels"):
        write(tmp_path / "a", "page")


def test_the_mode_of_a_report_is_that_of_any_new_file(tmp_path, run):
    before = os.umask(0o027)
    try:
        write(run / "report.html", "page", run)
    finally:
        os.umask(before)
    assert stat.S_IMODE((run / "report.html").stat().st_mode) == 0o640


def test_every_command_writes_over_the_names(tmp_path, victim, monkeypatch):
    monkeypatch.setattr("gradaudit.commands.workers.cores", lambda: 1)
    runs = [build_run(tmp_path / "runs" / name, loss=loss).path for name, loss in (("a", QUIET_LOSS), ("b", SICK_LOSS))]
    for folder in (*runs, tmp_path / "runs"):
        for name in NAMES:
            (folder / name).symlink_to(victim)
    quick = ["--select", "initial_loss_mismatch"]
    every = [part for name in ("html", "json", "markdown", "junit") for part in ("--format", name)]
    assert gradaudit("analyze", "-q", *runs, *quick, *every).exit_code == 0
    assert gradaudit("compare", *runs, "--format", "html", "--format", "json").exit_code == 0
    (runs[0] / "report.html").unlink()
    (runs[0] / "report.html").symlink_to(victim)
    assert gradaudit("render", runs[0] / "audit.json").exit_code == 0
    assert untouched(victim)
    linked = {str(path.relative_to(tmp_path / "runs")) for path in (tmp_path / "runs").rglob("*") if path.is_symlink()}
    unused = {f"{name}" for name in NAMES if name != "audits.html"}
    unused |= {f"a/{name}" for name in ("compare.html", "compare.json", "audits.html")} | {"b/audits.html"}
    assert linked == unused


def test_a_link_as_json_in_a_run_is_not_followed(tmp_path):
    run = build_run(tmp_path / "a", loss=QUIET_LOSS).path
    assert (
        gradaudit("analyze", run, "--select", "loss_spike", "--format", "json=" + str(tmp_path / "b.json")).exit_code
        == 0
    )
    (run / "audit.json").symlink_to(tmp_path / "b.json")
    refused(gradaudit("render", run / "audit.json", "--format", "terminal"), "is a link")
