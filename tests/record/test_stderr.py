"""The one line on standard error: wherever that leads, the script ends as it would."""

import os
import subprocess
import sys

import pytest

SAY = """
import os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
from gradaudit.record import stderr
PREPARE
stderr.say("one line")
print("on")
"""


def said(prepare="", to=subprocess.PIPE):
    ended = subprocess.run(
        [sys.executable, "-c", SAY.replace("PREPARE", prepare)],
        stdout=subprocess.PIPE,
        stderr=to,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "on\n")
    return ended.stderr


@pytest.mark.parametrize(
    ("prepare", "shown"),
    [
        ("", "one line\n"),
        ("sys.stderr.write('before '); sys.stderr.flush()", "before one line\n"),
        ("import io; sys.stderr = io.StringIO()", ""),
        ("sys.stderr = None", ""),
        ("sys.stderr.close()", ""),
        ("os.close(2)", ""),
    ],
)
def test_where_it_goes(prepare, shown):
    assert said(prepare) == shown


def test_a_pipe_that_nobody_reads():
    reading, writing = os.pipe()
    os.close(reading)
    said(to=writing)
    os.close(writing)


def test_a_pipe_that_is_full():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while os.write(writing, bytes(4096)):
            pass
    except BlockingIOError:
        os.set_blocking(writing, True)
    said(to=writing)
    os.close(reading)
    os.close(writing)


def test_a_device_that_is_full():
    with open("/dev/full", "wb") as full:
        said(to=full)


def test_a_file_of_the_script_under_its_number(tmp_path):
    assert said(f"os.close(2); theirs = open({str(tmp_path / 'user')!r}, 'wb'); assert theirs.fileno() == 2") == ""
    assert (tmp_path / "user").read_bytes() == b""
