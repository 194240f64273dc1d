"""Files without a kept descriptor: another program's file is never written, and what was torn is cut off."""

import os
import sys

import pytest

from gradaudit.record.storage import disk
from tests.record.training import run


@pytest.fixture
def file(tmp_path):
    return tmp_path / "file"


def test_what_is_appended_is_there(file):
    left = disk.create(file, b"one")
    left = disk.append(file, left, b"two")
    assert disk.read(file, left) == file.read_bytes() == b"onetwo"
    with pytest.raises(FileExistsError):
        disk.create(file, b"three")


def change_size(file):
    file.write_bytes(b"another size")


def replace_it(file):
    os.rename(file, file.with_name("kept"))
    file.write_bytes(b"theirs")


def remove(file):
    file.unlink()


def link(file):
    os.rename(file, file.with_name("kept"))
    file.symlink_to(file.with_name("kept"))


def pipe(file):
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("change", [change_size, replace_it, remove, link, pipe])
def test_a_file_that_is_not_as_it_was_left_is_not_touched(file, change):
    left = disk.create(file, b"one")
    change(file)
    beside = sorted(file.parent.iterdir())
    before = [each.read_bytes() for each in beside if each.is_file()]
    with pytest.raises(OSError):
        disk.append(file, left, b"two")
    assert [each.read_bytes() for each in beside if each.is_file()] == before
    with pytest.raises(OSError):
        disk.read(file, left)


def test_a_file_system_may_number_a_file_anew_at_each_opening(file):
    left = disk.create(file, b"one")
    for content in (b"two", b"three"):
        os.rename(file, file.with_name("old"))
        file.write_bytes(file.with_name("old").read_bytes())
        left = disk.append(file, left, content)
    assert disk.read(file, left) == b"onetwothree"


def test_a_link_in_the_place_of_a_new_file_is_not_followed(file):
    theirs = file.with_name("theirs")
    theirs.write_bytes(b"theirs")
    file.symlink_to(theirs)
    file.with_name("file.tmp").symlink_to(theirs)
    disk.replace(file, b"ours")
    assert (file.read_bytes(), theirs.read_bytes()) == (b"ours", b"theirs")
    assert not file.is_symlink()
    assert sorted(each.name for each in file.parent.iterdir()) == ["file", "theirs"]


@pytest.mark.parametrize("moment", [1, 2])
def test_a_number_given_to_another_file_in_the_middle_of_a_write(file, monkeypatch, moment):
    left = disk.create(file, b"one")
    theirs, original, looks = [], disk._is, []

    def closed_before(handle, left):
        looks.append(handle)
        if len(looks) == moment:  # before it is written to, and before it is closed
            os.close(handle)
            theirs.append(os.open(file.with_name("theirs"), os.O_RDWR | os.O_CREAT))
            assert theirs == [handle]
        return original(handle, left)

    monkeypatch.setattr(disk, "_is", closed_before)
    left = disk.append(file, left, b"two")
    assert disk.read(file, left) == b"onetwo"
    assert os.fstat(theirs[0]).st_size == 0, "it is still open, and nothing was written to it"
    os.close(theirs[0])


LIMIT = """
import errno, os, resource, signal
from pathlib import Path
from gradaudit.record import os_signals
from gradaudit.record.storage import disk
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
file, most = Path("file"), resource.RLIM_INFINITY
left = disk.create(file, bytes(60))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
for write in (lambda: disk.append(file, left, bytes(80)), lambda: disk.create(Path("new"), bytes(120))):
    try:
        with os_signals.writing():
            write()
    except OSError as error:
        assert error.errno == errno.EFBIG
    else:
        raise AssertionError
assert not os.path.exists("new")
assert not signal.sigpending()
assert os.path.getsize("file") == 60
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
assert disk.append(file, left, bytes(80)).size == os.path.getsize("file") == 140
"""


def test_what_does_not_fit_leaves_nothing(tmp_path):
    ended = run(tmp_path, sys.executable, "-c", LIMIT)
    assert (ended.returncode, ended.stderr) == (0, "")
