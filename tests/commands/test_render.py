"""`gradaudit render`: the page again, byte for byte, from the JSON of an audit."""

import copy
import itertools
import json
import os
import random

import pytest

from gradaudit.schema import PrivateFacts
from tests.build import build_run
from tests.commands.test_analyze import QUIET_LOSS, SICK_LOSS, gradaudit, refused
from tests.thin import thin


@pytest.fixture
def analyzed(tmp_path):
    """A run with its JSON and its page."""
    run = build_run(tmp_path / "sick", loss=SICK_LOSS).path
    assert gradaudit("analyze", run, "--format", "json", "--format", "html").exit_code == 0
    return run


@pytest.mark.usefixtures("charts_drawn_anew")
def test_the_page_is_made_again_byte_for_byte(analyzed, tmp_path):
    page = (analyzed / "report.html").read_bytes()
    result = gradaudit("render", analyzed / "audit.json", "-o", tmp_path / "again.html")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "again.html").read_bytes() == page
    (analyzed / "report.html").unlink()
    assert gradaudit("render", analyzed / "audit.json").exit_code == 0
    assert (analyzed / "report.html").read_bytes() == page


def test_the_json_comes_back_on_standard_output(analyzed):
    result = gradaudit("render", analyzed / "audit.json", "--format", "json=-")
    assert result.stdout_bytes == (analyzed / "audit.json").read_bytes()


FORMATS = ["html", "json", "terminal", "markdown", "junit", "github"]


@pytest.mark.parametrize(
    ("format", "show"), [*itertools.product(FORMATS, [False]), *thin(6, itertools.product(FORMATS, [True]))]
)
def test_private_facts_stay_in_the_json_unless_asked_for(tmp_path, format, show):
    private = PrivateFacts(host="secret-host", user="secret-user", directory="/secret", command=["secret.py"])
    run = build_run(tmp_path / "x", loss=QUIET_LOSS, private=private).path
    assert gradaudit("analyze", run, "--show-host", "--format", "json").exit_code == 0
    options = ["--format", f"{format}=-", *(["--show-host"] if show else [])]
    result = gradaudit("render", run / "audit.json", *options)
    assert result.exit_code == 0, result.output
    assert ("secret" in result.stdout) is (show and format in ("html", "json"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["audit.json", "No such file"]),
        ("", ["is not an audit"]),
        ("{}", ["is not an audit"]),
        (json.dumps({"audit_version": 99}), ["is not an audit"]),
    ],
)
def test_what_is_no_audit_is_one_line(tmp_path, text, words):
    if text is not None:
        (tmp_path / "audit.json").write_text(text)
    refused(gradaudit("render", tmp_path / "audit.json"), *words)
    assert not (tmp_path / "report.html").exists()


def test_an_audit_from_a_newer_gradaudit_says_so(analyzed):
    file = analyzed / "audit.json"
    file.write_text(file.read_text().replace('"audit_version":1', '"audit_version":99'))
    refused(gradaudit("render", file), "audit version 99", "upgrade")


# A JSON that somebody else sent


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """The JSON of an audit with a finding, decoded."""
    run = build_run(tmp_path_factory.mktemp("sample") / "sample", loss=SICK_LOSS).path
    result = gradaudit("analyze", run, "--select", "initial_loss_mismatch", "--format", "json=-")
    return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Processes of their own are tested with the workers."""
    monkeypatch.setattr("gradaudit.commands.workers.cores", lambda: 1)


def nested(audit, depth):
    """The audit as JSON, its finding explained by itself that often."""
    (item,) = audit["ranked"]
    item = {**item, "finding": {**item["finding"], "evidence": []}}
    item["consequences"] = item.pop("consequences")[:0]  # the last of its fields
    head = json.dumps(item).removesuffix("]}")
    return json.dumps({**audit, "ranked": "here"}).replace('"here"', "[" + head * depth + "]}" * depth + "]")


def crowded(audit, count):
    """The audit as JSON, its finding so many times."""
    item = json.dumps(audit["ranked"][0])
    return json.dumps({**audit, "ranked": "here"}).replace('"here"', "[" + ",".join([item] * count) + "]")


@pytest.mark.parametrize("command", ["render", "compare"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda audit: nested(audit, 101), "nests them too deeply", id="nested findings"),
        pytest.param(lambda audit: nested(audit, 5_000), "nested too deeply", id="deeply nested findings"),
        pytest.param(lambda audit: "[" * 1_000_000, "is not an audit", id="nested lists"),
        pytest.param(lambda audit: '{"x":' + "[" * 1_000_000, "is not an audit", id="nested lists of no meaning"),
        pytest.param(lambda audit: crowded(audit, 10_001), "more findings than an audit can", id="many findings"),
        pytest.param(lambda audit: "[" + "0," * 6_000_000, "more than 5,000,000 values", id="many values"),
        pytest.param(lambda audit: json.dumps({**audit, "state": "x" * 1_000_001}), "1,000,001 char", id="a long text"),
        pytest.param(lambda audit: json.dumps(audit).replace('"steps": 200', '"steps": 2e999'), "audit", id="infinite"),
        pytest.param(lambda audit: json.dumps({**audit, "state": 1}), "is not an audit", id="a wrong type"),
        pytest.param(lambda audit: json.dumps({**audit, "meta": None}), "is not an audit", id="null"),
        pytest.param(lambda audit: json.dumps(audit).replace('"steps": 200', f'"steps": {"9" * 400}'), "", id="huge"),
        pytest.param(lambda audit: json.dumps(audit)[:-100], "is not an audit", id="torn"),
        pytest.param(lambda audit: json.dumps({**audit, "state": "\ud800"}), "is not an audit", id="half a character"),
    ],
)
def test_a_json_that_no_audit_has_is_one_line(audit, tmp_path, command, make, words):
    file = tmp_path / "audit.json"
    file.write_text(make(audit))
    result = gradaudit(command, *[file] * (1 if command == "render" else 2))
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert len(lines) == (1 if command == "render" else 2)  # a line a file
    assert all(line.startswith("gradaudit: ") and words in line for line in lines)
    assert os.listdir(tmp_path) == ["audit.json"]


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "audit.json").open("wb") as file:
        file.truncate(10**12)
    refused(gradaudit("render", tmp_path / "audit.json"), "has 1,000,000 MB")


def test_the_deepest_nesting_is_drawn(audit, tmp_path):
    (tmp_path / "audit.json").write_text(nested(audit, 100))
    for format in ("terminal", "markdown", "junit", "github", "json"):
        result = gradaudit("render", tmp_path / "audit.json", "--format", f"{format}=-")
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda name: name.symlink_to("/dev/zero")])
def test_what_is_no_file_is_one_line(tmp_path, make):
    make(tmp_path / "audit.json")
    refused(gradaudit("render", tmp_path / "audit.json"), "no regular file")
    # A folder is a run for compare.
    result = gradaudit("compare", tmp_path / "audit.json", tmp_path / "audit.json")
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


EXTREMES = (0, -1, 2**31 - 1, 2**62, -(2**62), 1e308, -1e308, 5e-324, None, "", "\x1b[31m\x00", [], {}, True, 2**70)


def paths(value, path=()):
    """Every place in a tree of JSON."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*path, key))


@pytest.mark.parametrize("seed", thin(4, range(20)))
def test_mutations_are_drawn_or_refused(audit, tmp_path, seed):
    """In one of each kind of place: another value, half a list, a list three times."""
    random_ = random.Random(seed)
    kinds = {}
    for path in paths(audit):
        kinds.setdefault(tuple("*" if isinstance(key, int) else key for key in path), []).append(path)
    for number in range(10):
        mutated = copy.deepcopy(audit)
        path = random_.choice(random_.choice(list(kinds.values())[1:]))
        place = mutated
        for key in path[:-1]:
            place = place[key]
        old = place[path[-1]]
        lists = [old[: len(old) // 2], old * 3] if isinstance(old, list) else []
        place[path[-1]] = random_.choice([*lists * 8, *EXTREMES])
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(mutated))
        for format in ("terminal", "markdown", "junit", "github", *(["html"] if number == 0 else [])):
            result = gradaudit("render", file, "--format", f"{format}=-")
            assert result.exit_code in (0, 2), (path, place[path[-1]])
            assert len(result.stderr.splitlines()) == (result.exit_code == 2), (path, result.stderr)
            assert "Traceback" not in result.stderr
