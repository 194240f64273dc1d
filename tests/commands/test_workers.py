"""Many runs on all cores: in order, none stops another, not even one whose process dies."""

import os
from functools import partial
from pathlib import Path

import pytest

from gradaudit.commands import workers
from gradaudit.commands.workers import bar, each
from gradaudit.schema import UserError


def task(path):
    if path.name == "bad":
        raise UserError(f"{path} is bad")
    if path.name == "bug":
        raise ZeroDivisionError("ours")
    if path.name == "dies":
        os.abort()
    return path.name.upper()


@pytest.mark.parametrize("cores", [1, 2])
def test_results_come_in_order_and_a_failure_is_one_line(monkeypatch, cores):
    monkeypatch.setattr(workers, "cores", lambda: cores)
    done = list(each([Path("a"), Path("bad"), Path("bug"), Path("b")], task, lambda text: None))
    assert [one.value for one in done] == ["A", None, None, "B"]
    assert [one.code for one in done] == [0, 2, 2, 0]
    assert done[1].complaint == "gradaudit: bad is bad\n"
    assert "ZeroDivisionError: ours" in done[2].complaint


def test_a_process_that_dies_takes_no_other_with_it(monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 2)
    shown = []
    done = list(each([Path("dies"), Path("a"), Path("b")], task, shown.append))
    assert [one.value for one in done] == [None, "A", "B"]
    assert done[0].complaint.startswith("gradaudit: dies: the process that worked on it was killed or crashed")
    assert done[0].code == 2


def test_progress_counts(monkeypatch):
    assert bar(0, 3) == "[....................] 0 of 3 runs"
    assert bar(3, 3) == "[####################] 3 of 3 runs"
    assert partial(bar, 1)(2).count("#") == 10


def test_who_is_told_to_end_begins_no_other_run(monkeypatch, capsys):
    monkeypatch.setattr(workers, "cores", lambda: 1)
    begun = []

    def interrupted(path):
        begun.append(path)
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        list(each([Path("a"), Path("b")], interrupted, lambda text: None))
    assert stop.value.code == 130
    assert begun == [Path("a")]
    assert capsys.readouterr().err == "gradaudit: interrupted\n"


def parts(path):
    yield f"{path} begun"
    if path.name == "dies":
        os.abort()
    yield f"{path} done"


@pytest.mark.parametrize("cores", [1, 2])
def test_the_last_part_of_a_value_counts_or_the_last_before_its_process_died(monkeypatch, cores):
    monkeypatch.setattr(workers, "cores", lambda: cores)
    paths = [Path("dies"), Path("a")] if cores == 2 else [Path("b"), Path("a")]
    done = [one.value for one in each(paths, parts, lambda text: None)]
    assert done == ["dies begun" if cores == 2 else "b done", "a done"]


@pytest.mark.timeout(60)
@pytest.mark.skipif(not Path("/bin/false").exists(), reason="needs a program that ends at once")
def test_a_process_that_dies_before_it_has_its_task_is_not_waited_for(monkeypatch):
    """A task of more than a pipe holds, as an audit is, and a process that memory does not let begin."""
    from multiprocessing import resource_tracker, spawn

    resource_tracker.ensure_running()
    before = spawn.get_executable()
    spawn.set_executable("/bin/false")
    try:
        monkeypatch.setattr(workers, "limited", lambda: True)
        with pytest.raises(SystemExit) as ended:
            workers.apart(partial(_length, "x" * 1_000_000), Path("a"))
    finally:
        spawn.set_executable(before)
    assert ended.value.code == 2


def _length(text, path):
    return len(text)
