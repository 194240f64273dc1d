"""Children that train keep their last step and how they ended, however they were started and however they end."""

import json

import pyarrow.parquet
import pytest

from gradaudit.reading.run import load
from tests.record.training import record, script

TRAIN = """
    import multiprocessing, os, signal, sys
    from concurrent.futures import ProcessPoolExecutor

    import torch

    torch.set_num_threads(1)

    def train(ending="return"):
        model = torch.nn.Linear(20, 5)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(70):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(torch.randn(32, 20)), torch.randint(5, (32,))).backward()
            optimizer.step()
        exec(ending)

    def by_multiprocessing(method, ending="return", code=0):
        child = multiprocessing.get_context(method).Process(target=train, args=(ending,))
        child.start()
        child.join()
        assert child.exitcode == code, (method, child.exitcode)

    def by_hand(ending):
        if not (child := os.fork()):
            train(ending)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
COMPILER = "torch.optim.SGD([torch.zeros(1, requires_grad=True)])"  # imports it, once for all forked children
FORKED = {
    "by_multiprocessing('fork', 'pass')": ("finished", 0),
    "by_multiprocessing('fork', '1 / 0', 1)": ("failed", 1),
    "by_multiprocessing('fork', 'sys.exit(7)', 7)": ("failed", 7),
    "assert by_hand('os._exit(0)') == 0": ("finished", 0),
    "assert by_hand('os._exit(status=5)') == 5": ("failed", 5),
    "assert by_hand('sys.exit(3)') == 3": ("finished", None),  # it has no word of its own for that
    "assert by_hand('1 / 0') == 1": ("failed", None),
    "ProcessPoolExecutor(1, multiprocessing.get_context('fork')).submit(train, 'pass').result()": ("finished", 0),
    "by_multiprocessing('spawn', '1 / 0', 1)": ("failed", 1),
}
SPAWNED = {
    "by_multiprocessing('spawn', 'pass')": ("finished", 0),
    "by_multiprocessing('forkserver', 'sys.exit(7)', 7)": ("failed", 7),
}


LATE = """
    import multiprocessing

    def train():
        import sys
        import torch
        weight = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for step in range(5):
            (weight - 1).square().sum().backward()
            optimizer.step()
        sys.exit(6)

    if __name__ == "__main__":
        child = multiprocessing.get_context("spawn").Process(target=train)
        child.start()
        child.join()
        print(child.exitcode)
"""


@pytest.mark.long
def test_a_spawned_child_that_imports_torch_late_keeps_its_exit_code(tmp_path):
    script(tmp_path, LATE)
    assert record(tmp_path, "--quiet", "-o", "run", "train.py").stdout == "6\n"
    run = load(tmp_path / "run")
    assert (run.state, run.exit_code, len(run.steps)) == ("failed", 6, 5)


@pytest.mark.parametrize(
    "last",
    [
        "os.execlp(sys.executable, *again)",
        pytest.param("os.execve(sys.executable, again, os.environ)", marks=pytest.mark.long),
    ],
)
def test_what_a_program_recorded_before_another_took_its_place_is_kept(tmp_path, last):
    script(tmp_path, f"""
        import os, sys
        import torch
        again = [sys.executable, "-S", "-c", "print('second'); raise SystemExit(4)"]
        weight = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for step in range(5):
            (weight - 1).square().sum().backward()
            optimizer.step()
        {last}
    """)  # fmt: skip
    watched = record(tmp_path, "--quiet", "-o", "run", "train.py")
    assert (watched.returncode, watched.stdout, watched.stderr) == (4, "second\n", "")
    run = load(tmp_path / "run")
    assert (run.state, run.exit_code, len(run.steps)) == ("failed", 4, 5)


@pytest.mark.parametrize("endings", [FORKED, pytest.param(SPAWNED, marks=pytest.mark.long)], ids=["forked", "spawned"])
def test_children_flush(tmp_path, endings):
    lines = [f"        {call}\n" for call in (COMPILER, *endings)]
    script(tmp_path, f"{TRAIN}\n    if __name__ == '__main__':\n{''.join(lines)}        print('done')\n")
    watched = record(tmp_path, "--quiet", "-o", "run", "train.py")
    assert (watched.returncode, watched.stdout) == (0, "done\n"), watched.stderr
    assert "gradaudit" not in watched.stderr
    found = {}
    for number, call in enumerate(endings):
        folder = tmp_path / "run" / (f"rank00000.{number}" if number else "rank00000")
        facts = json.loads((folder / "rank.json" if number else tmp_path / "run" / "run.json").read_text())
        steps = sum(pyarrow.parquet.read_metadata(file).num_rows for file in folder.glob("steps-*.parquet"))
        found[call] = facts["state"], facts["exit_code"]
        assert steps == 70, call
    assert found == endings
    assert sorted(file.name for file in (tmp_path / "run").iterdir() if not file.name.startswith("rank")) == [
        "ended.json", "launch.json", "run.json",
    ]  # fmt: skip


def test_os_exit_passes_for_itself(tmp_path):
    script(tmp_path, """
        import copy, inspect, os, pickle
        bare = inspect.signature(os._exit), os._exit.__name__, os._exit.__doc__
        import torch
        assert (inspect.signature(os._exit), os._exit.__name__, os._exit.__doc__) == bare
        assert pickle.loads(pickle.dumps(os._exit)) is os._exit
        assert b"gradaudit" not in pickle.dumps([os._exit, torch.nn.functional.cross_entropy, torch.autograd.backward])
        assert copy.deepcopy(os._exit) is os._exit
        for wrong in ((), ("a",), (1, 2)):
            try:
                os._exit(*wrong)
            except TypeError:
                pass
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(5):
            model(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
        os._exit(0)
    """)  # fmt: skip
    watched = record(tmp_path, "-o", "run", "train.py")
    assert watched.returncode == 0, watched.stderr
    run = load(tmp_path / "run")
    assert (run.state, run.exit_code, len(run.steps)) == ("finished", 0, 5)
