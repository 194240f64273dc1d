"""Each sample run: its golden findings, its size, and that it tells nothing about the machine that made it."""

import json
import re
import socket
from pathlib import Path

import msgspec
import pyarrow
import pyarrow.parquet
import pytest

from gradaudit.findings import Severity, Skipped
from gradaudit.reading.run import load
from gradaudit.report import measure_text
from gradaudit.schema import PrivateFacts
from tests import samples
from tests.test_house import DIAGNOSERS, check_style

LARGEST = 600_000  # bytes of a recorded run in the repository
RUNS = samples.recorded()

HEALTHY = [folder for folder in RUNS if folder.name.startswith("healthy_")]
SICK = [folder for folder in RUNS if folder not in HEALTHY]

each_sample = pytest.mark.parametrize("sample", RUNS, ids=lambda folder: folder.name)
each_healthy = pytest.mark.parametrize("sample", HEALTHY, ids=lambda folder: folder.name)
each_sick = pytest.mark.parametrize("sample", SICK, ids=lambda folder: folder.name)


def test_every_sample_is_recorded_and_has_its_findings():
    for script in samples.FOLDER.glob("*/train.py"):
        assert (script.parent / "run" / "run.json").exists(), f"{script.parent.name}: run `{samples.RECORD}`"
        assert (script.parent / "findings.txt").exists(), f"{script.parent.name}: run `{samples.REWRITE}`"


@each_sample
def test_findings_are_the_golden_ones(sample):
    golden = (sample / "findings.txt").read_text(encoding="utf-8")
    assert samples.findings(sample) == golden, f"if the new text is right, accept it with `{samples.REWRITE}`"


@each_healthy
def test_a_healthy_run_has_nothing_at_warning_or_above(sample):
    alarms = [item.finding for item in samples.audit(sample).all_ranked()]
    assert [finding.headline for finding in alarms if finding.severity is not Severity.NOTE] == []


@each_sick
def test_a_sick_run_shows_what_it_is_named_after(sample):
    found = [outcome.diagnoser for outcome in samples.audit(sample).with_status("found")]
    assert sample.name in found


@each_sample
def test_every_diagnoser_looks_and_speaks_well(sample):
    for outcome in samples.audit(sample).outcomes:
        assert outcome.status != "failed", outcome.result
        for finding in outcome.findings:
            check_style(finding, next(item for item in DIAGNOSERS if item.name == outcome.diagnoser))


@each_sample
def test_the_page_says_of_each_measure_whether_it_is_met(sample):
    for item in samples.audit(sample).all_ranked():
        for measure in item.finding.measures:
            shown = measure_text.view(measure)
            assert shown.met in ("met", "not met") or (measure.value is None and shown.met == "unknown")
            same = shown.observed == shown.threshold.removeprefix(f"{measure.comparison} ")
            assert not same or measure.value == measure.threshold, f"{measure.quantity} contradicts itself"


@each_sample
def test_one_word_names_the_validation(sample):
    text = msgspec.json.encode(samples.audit(sample)).decode()
    assert re.findall(r"held[- ]out|evaluation (?:loss|split|curve)", text, re.IGNORECASE) == []


# What a stranger stumbles over: words of the files and of the code, numbers that read as mistakes.
ODD = re.compile(r"no table|\bit needs\b|-\d\S* (?:decades|%)|\b\d{4,} %|\bfrom (\S+) over \1\b|\bnan\b|\bNone\b")


@each_sample
def test_no_check_speaks_in_riddles(sample):
    for outcome in samples.audit(sample).outcomes:
        words = [outcome.result.text, *(finding.explanation for finding in outcome.findings)]
        if isinstance(outcome.result, Skipped):
            words.append(outcome.result.enable)
        for text in words:
            assert not ODD.search(text), f"{outcome.diagnoser}: {text}"


@pytest.mark.parametrize(
    "text",
    ["the run has no table evaluations", "60 steps were recorded and it needs 100", "-0.14 decades more gradient",
     "14934 % above the training loss", "the learning rate goes from 0.002 over 0.002 at step 0", "it gained -2.6 %"],
)  # fmt: skip
def test_a_riddle_is_noticed(text):
    assert ODD.search(text)


@each_sample
def test_the_run_finished_and_was_read_whole(sample):
    run = load(sample / "run")
    assert run.problems == ()
    assert run.state == "finished"


@each_sample
def test_the_run_is_small(sample):
    assert sum(file.stat().st_size for file in (sample / "run").rglob("*") if file.is_file()) < LARGEST


@each_sample
def test_the_run_says_nothing_about_the_machine(sample):
    assert load(sample / "run").meta.private == PrivateFacts(), f"record it with --no-host: `{samples.RECORD}`"
    for file in (sample / "run").rglob("*"):
        for text in strings_of(file):
            assert text not in (socket.gethostname(), str(Path.home())), f"{file} holds {text}"
            assert not ABSOLUTE.search(text), f"{file} holds the path {text}"


# A path from the root, on POSIX or Windows, at the start of a text or behind a separator.
ABSOLUTE = re.compile(r"""(?:^|["'\s=:(,])(?:/[\w.-]+/|[A-Za-z]:\\)""")


def strings_of(file):
    """Every text in a JSON or Parquet file."""
    if file.suffix == ".json":
        pending = [json.loads(file.read_bytes())]
        while pending:
            value = pending.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict | list):
                pending += value.values() if isinstance(value, dict) else value
    elif file.suffix == ".parquet":
        table = pyarrow.parquet.read_table(file)
        for name in table.column_names:
            if pyarrow.types.is_string(table.schema.field(name).type):
                yield from filter(None, table.column(name).to_pylist())
    else:
        assert file.is_dir(), f"{file} has no business in a recorded run"


@pytest.mark.parametrize("text", ["/home/a/x.py", "at /srv/x/y", "C:\\Users\\a", "path=/a/b"])
def test_an_absolute_path_is_noticed(text):
    assert ABSOLUTE.search(text)


@pytest.mark.parametrize(
    "text", ["2026-11-21T12:24:24+00:00", "train/loss", "train.py:12", "and/or", "1/2", "2.13.0+cpu"]
)
def test_other_text_is_not_taken_for_a_path(text):
    assert not ABSOLUTE.search(text)
