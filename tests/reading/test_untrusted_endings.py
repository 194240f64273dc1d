"""The small files about how a command began and ended, from anybody: none is waited for, followed or read at length."""

import json
import os
import socket

import numpy
import pytest

from gradaudit import endings
from gradaudit.reading.run import RunError, load
from tests.build import build_run

FALLING = numpy.linspace(2.3, 1.0, 20)
PLACES = ["launch.json", "ended.json", "starts", "starts/1.json"]
TRUE = {"pid": 7, "exit_code": 3, "ignored": "-I", "backwards": 5, "state": "failed", "error": "ValueError"}


def pipe(file):
    os.mkfifo(file)


def end_of_a_socket(file):
    here = os.getcwd()
    os.chdir(file.parent)  # the name of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(file.name)
    finally:
        os.chdir(here)


def sparse(file):
    with file.open("wb") as opened:
        opened.truncate(10**12)


def link_to_a_true_one(file):
    secret = file.parents[2] / "secret"
    if file.name == "starts":
        secret.mkdir()
        (secret / "1.json").write_text(json.dumps(TRUE))
    else:
        secret.write_text(json.dumps(TRUE))
    file.symlink_to(secret)


KINDS = {
    "a pipe": pipe,
    "a socket": end_of_a_socket,
    "a folder": lambda file: file.mkdir(),
    "a terabyte": sparse,
    "a link to a device": lambda file: file.symlink_to("/dev/zero"),
    "a link to itself": lambda file: file.symlink_to(file.name),
    "a link to a file outside": link_to_a_true_one,
    "garbage": lambda file: file.write_bytes(bytes(range(256)) * 10),
    "no text": lambda file: file.write_bytes(b'{"pid": "\xff"}'),
    "nesting": lambda file: file.write_text('{"pid": ' + "[" * 40_000 + "]" * 40_000 + "}"),
    "a list": lambda file: file.write_text("[1, 2]"),
    "a number of 10,000 digits": lambda file: file.write_text(f'{{"pid": {10**4000}{"0" * 6000}}}'),
    "numbers beyond all": lambda file: file.write_text(
        json.dumps({"pid": 2**64, "exit_code": -(2**63), "signal": 2**31, "backwards": -1, "ignored": [1]})
    ),
    "other types": lambda file: file.write_text(
        json.dumps({"pid": "x", "exit_code": [], "signal": {}, "backwards": 1e308, "state": 7, "error": {}})
    ),
}


def put(run, place, kind):
    file = run.joinpath(*place.split("/"))
    file.parent.mkdir(exist_ok=True)
    KINDS[kind](file)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_a_run_with_steps_keeps_its_own_state(tmp_path, place, kind):
    path = build_run(tmp_path / "runs" / "a", loss=FALLING, pid=7).path
    put(path, place, kind)
    run = load(path)
    assert (run.state, run.exit_code, len(run.steps)) == ("finished", None, 20)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_a_run_without_steps_is_told_as_one_that_never_started(tmp_path, place, kind):
    path = tmp_path / "runs" / "a"
    path.mkdir(parents=True)
    if place != "launch.json":
        (path / "launch.json").write_text("{}")
    put(path, place, kind)
    with pytest.raises(RunError) as caught:
        load(path)
    (line,) = str(caught.value).splitlines()
    assert len(line) < 1000
    # Numbers and words of the wrong kind are still those of a process that imported torch.
    counted = place == "starts/1.json" and kind in ("no text", "numbers beyond all", "other types")
    assert ("torch was imported" in line) == (counted and kind != "no text")
    assert "python -I ignores" not in line
    assert "ValueError" not in line


def test_sound_ones_are_told(tmp_path):
    """What the tests above put behind links would be told."""
    path = build_run(tmp_path / "a", loss=FALLING, pid=7).path
    (path / "ended.json").write_text(json.dumps(TRUE))
    run = load(path)
    assert (run.state, run.exit_code) == ("failed", 3)
    empty = tmp_path / "b"
    (empty / "starts").mkdir(parents=True)
    (empty / "launch.json").write_text("{}")
    (empty / "starts" / "1.json").write_text(json.dumps(TRUE))
    with pytest.raises(RunError, match=r"ran 5 backward passes.*ended with ValueError"):
        load(empty)


def test_starts_beyond_their_most_are_not_read(tmp_path):
    (tmp_path / "starts").mkdir()
    for number in range(endings.MOST_STARTS + 50):
        (tmp_path / "starts" / f"{number:06d}.json").write_text(json.dumps({"pid": number + 1}))
    assert len(endings.starts(tmp_path)) == endings.MOST_STARTS
