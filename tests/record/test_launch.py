"""`gradaudit record` changes nothing that a script or its caller can see, whatever happens to it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gradaudit.reading.run import RunError, load
from gradaudit.record.launch import LaunchError, resolve
from tests.record.training import python, record, script
from tests.thin import thin

TRAIN = """
    import hashlib, sys
    import torch
    from torch.nn.functional import cross_entropy

    def main(steps):
        torch.manual_seed(0)
        layers = torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(32, 3)
        model = torch.nn.Sequential(*layers)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x, y = torch.randn(256, 10), torch.randint(0, 3, (256,))
        for step in range(steps):
            index = torch.randint(0, 256, (32,))
            loss = cross_entropy(model(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            print(loss.item())
            if step % 5 == 4:
                model.eval()
                with torch.no_grad():
                    val_loss = cross_entropy(model(x), y)
                model.train()
                print("val", val_loss.item())
        weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        print(hashlib.sha256(weights).hexdigest(), torch.rand(1).item())

    print(sys.argv, __name__, __file__, sys.path[0], "sitecustomize" in sys.modules)
    if __name__ == "__main__":
        main(20)
"""


def test_nothing_changes_but_one_line(tmp_path):
    """Losses, weights (SHA-256) and the next random number with dropout, momentum and clipping; argv, paths, output."""
    script(tmp_path, TRAIN)
    bare = python(tmp_path, "train.py", "--lr", "0.1", "-o", "x")
    watched = record(tmp_path, "-o", "run", "train.py", "--lr", "0.1", "-o", "x")
    assert watched.stdout == bare.stdout
    assert bare.stderr == ""
    assert watched.stderr == "gradaudit: recorded 20 steps of 4 tensors; next: gradaudit analyze run\n"
    assert (watched.returncode, bare.returncode) == (0, 0)
    run = load(tmp_path / "run")
    printed = [float(line) for line in bare.stdout.splitlines() if re.fullmatch(r"\d\.\d+", line)]
    assert run.steps["mean_loss"].tolist() == pytest.approx(printed)
    assert run.evaluations["split"].tolist() == ["validation"] * 4
    assert run.evaluations["after_step"].tolist() == [4, 9, 14, 19]
    assert run.training(0).recorded.tolist() == list(range(20))


def test_quiet_modules_and_commands(tmp_path):
    script(tmp_path, TRAIN, "package/train.py")
    script(tmp_path, "", "package/__init__.py")
    arguments = "-m", "package.train", "a", "--y", "1"
    with ThreadPoolExecutor() as side_by_side:
        done = [
            side_by_side.submit(python, tmp_path, *arguments),
            side_by_side.submit(record, tmp_path, "--quiet", "-o", "m", *arguments),
            side_by_side.submit(record, tmp_path, "--quiet", "-o", "c", "--", sys.executable, *arguments),
        ]
    bare, module, command = (process.result() for process in done)
    assert module.stdout == command.stdout == bare.stdout
    assert module.stderr == command.stderr == ""
    assert len(load(tmp_path / "m").steps) == len(load(tmp_path / "c").steps) == 20


def test_default_folder_and_folders_that_are_taken(tmp_path):
    script(tmp_path, TRAIN)
    assert record(tmp_path, "train.py").returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"train-\d{8}-\d{6}", folder.name)
    again = record(tmp_path, "-o", str(folder), "train.py")
    assert again.returncode == 2
    assert "--force" in again.stderr
    assert again.stderr.count("\n") == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    refused = record(tmp_path, "--force", "-o", "mine", "train.py")
    assert refused.returncode == 2
    assert (tmp_path / "mine" / "thesis.tex").exists()
    assert record(tmp_path, "--force", "-o", str(folder), "train.py").returncode == 0
    assert not list(folder.glob(".earlier-*"))


@pytest.mark.long
def test_what_cannot_be_started_costs_no_earlier_run(tmp_path):
    script(tmp_path, TRAIN)
    assert record(tmp_path, "-o", "run", "train.py").returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    (tmp_path / "program").write_bytes(b"\x7fELF, but no program")
    (tmp_path / "program").chmod(0o755)
    failed = record(tmp_path, "--force", "-o", "run", "--", "./program")
    assert failed.returncode != 0
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


# A shell starts what it sends to the background with the signal ignored.
INTERRUPTIBLE = "signal.signal(signal.SIGINT, signal.default_int_handler)"


ENDINGS = [
    ("raise ValueError('bad data')", 1, "failed"),
    ("sys.exit(3)", 3, "failed"),
    ("os._exit(5)", 5, "failed"),
    (f"{INTERRUPTIBLE}; os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", -signal.SIGINT, "interrupted"),
    ("time.sleep(2); os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", -signal.SIGTERM, "killed"),
]


@pytest.mark.parametrize(("ending", "code", "state"), thin(3, ENDINGS))
def test_exit_codes_and_tracebacks_are_the_scripts_own(tmp_path, ending, code, state):
    script(tmp_path, TRAIN.replace("main(20)", f"import os, signal, time; main(3); {ending}"))
    with ThreadPoolExecutor() as side_by_side:
        both = (
            side_by_side.submit(python, tmp_path, "train.py"),
            side_by_side.submit(record, tmp_path, "--quiet", "-o", "run", "train.py"),
        )
    bare, watched = (done.result() for done in both)
    assert bare.returncode == watched.returncode == code
    assert watched.stderr == bare.stderr
    assert watched.stdout == bare.stdout
    run = load(tmp_path / "run")
    assert run.state == state
    assert run.exit_code == (code if code >= 0 else None)
    assert len(run.steps) >= 1
    if state in ("finished", "failed", "interrupted"):
        assert len(run.steps) == 3


def test_kill_9_in_mid_run_loses_at_most_the_last_flush(tmp_path):
    script(
        tmp_path,
        TRAIN.replace("print(loss.item())", "print(step, flush=True); import time; time.sleep(0.002)").replace(
            "20)", "10**6)"
        ),
    )
    command = [sys.executable, "-m", "gradaudit", "record", "-o", "run", "train.py"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "400":
            break
    alive = load(tmp_path / "run")
    assert alive.state == "running"
    assert len(alive.steps) > 250
    process.send_signal(signal.SIGKILL)
    rest = [int(line) for line in process.stdout.read().split() if line.isdigit()]
    process.wait()
    process.stdout.close()
    done = max(rest, default=400)
    run = load(tmp_path / "run")
    assert run.state == "killed"
    assert run.problems == ()
    # Up to 128 steps wait for the next hand-over, and as many may be on their way to the disk.
    assert done - 256 <= len(run.steps) <= done + 2
    assert run.training(0).recorded[:100].tolist() == list(range(100))


@pytest.mark.long
def test_a_fork_after_the_start_does_not_write_into_the_parents_files(tmp_path):
    forking = "torch.set_num_threads(1); main(3); import os; pid = os.fork(); main(2); pid and os.waitpid(pid, 0)"
    script(tmp_path, TRAIN.replace("main(20)", forking))
    watched = record(tmp_path, "-o", "run", "train.py")
    assert watched.returncode == 0, watched.stderr
    assert len(load(tmp_path / "run").steps) == 5
    assert watched.stderr.count("gradaudit:") == 1


@pytest.mark.parametrize("contexts", thin(2, ['("fork",)', '("fork", "spawn", "forkserver")']))
def test_data_loader_workers_write_nothing(tmp_path, contexts):
    script(
        tmp_path,
        f"""
        import torch
        from torch.nn.functional import cross_entropy

        class Data(torch.utils.data.Dataset):
            def __len__(self):
                return 40

            def __getitem__(self, index):
                cross_entropy(torch.zeros(1, 3), torch.tensor([0]))
                return torch.ones(10) * index / 40, index % 3

        if __name__ == "__main__":
            model = torch.nn.Linear(10, 3)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for context in {contexts}:
                for x, y in torch.utils.data.DataLoader(Data(), 8, num_workers=2, multiprocessing_context=context):
                    optimizer.zero_grad()
                    cross_entropy(model(x), y).backward()
                    optimizer.step()
        """,
    )
    watched = record(tmp_path, "-o", "run", "train.py")
    assert watched.returncode == 0, watched.stderr
    run = load(tmp_path / "run")
    assert sorted(path.name for path in run.path.iterdir()) == ["ended.json", "launch.json", "rank00000", "run.json"]
    assert len(run.steps) == 5 * len(eval(contexts))
    assert len(run.evaluations) == 0
    assert (run.meta.data.batches_per_epoch, run.meta.data.batch_size) == (5, 8)


def test_the_users_own_sitecustomize_still_runs(tmp_path):
    script(tmp_path, "import os; os.environ['MINE'] = 'ran'; NAME = __name__", "site/sitecustomize.py")
    script(tmp_path, TRAIN + "\n    import os, sitecustomize; print(os.environ['MINE'], sitecustomize.NAME)\n")
    bare = python(tmp_path, "train.py", PYTHONPATH=str(tmp_path / "site"))
    watched = record(tmp_path, "-o", "run", "train.py", PYTHONPATH=str(tmp_path / "site"))
    assert "ran sitecustomize" in bare.stdout
    assert watched.stdout == bare.stdout
    assert len(load(tmp_path / "run").steps) == 20


@pytest.mark.long
def test_an_interpreter_that_ignores_the_recorder_is_explained(tmp_path):
    script(tmp_path, TRAIN)
    watched = record(tmp_path, "-o", "run", "--", sys.executable, "-I", "train.py")
    assert watched.returncode == 0
    with pytest.raises(RunError, match=r"the recorder never started.*python -I"):
        load(tmp_path / "run")


def test_an_interpreter_without_gradaudit_runs_the_script_unrecorded(tmp_path):
    script(tmp_path, "class Fake: pass", "fake/torch.py")
    script(tmp_path, "import torch; print(torch.Fake.__name__)")
    # Without site-packages there is neither gradaudit nor pyarrow, as in an environment of its own.
    watched = record(tmp_path, "-o", "run", "--", sys.executable, "-S", "-c", "import sitecustomize, torch; print(1)",
                     PYTHONPATH=str(tmp_path / "fake"))  # fmt: skip
    assert watched.stdout == "1\n"
    assert watched.returncode == 0
    assert watched.stderr.count("\n") == 1
    assert "not recording" in watched.stderr


def test_what_cannot_be_launched_is_one_line(tmp_path):
    for arguments, message in (
        (["missing.py"], "no such script"),
        (["--", "no-such-command"], "no such command"),
        ([], "nothing to record"),
    ):
        result = record(tmp_path, *arguments)
        assert result.returncode == 2, arguments
        assert message in result.stderr
        assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists()


def test_a_script_after_the_dashes_is_a_script(tmp_path, monkeypatch):
    (tmp_path / "train.py").touch()
    monkeypatch.chdir(tmp_path)
    asked = ["train.py", "--epochs", "3"]
    assert resolve(["--", *asked]) == resolve(asked) == (sys.executable, asked, "train")
    with pytest.raises(LaunchError, match="no such command"):
        resolve(["--", "missing.py"])


def test_no_host_leaves_nothing_private(tmp_path):
    script(tmp_path, TRAIN)
    record(tmp_path, "--no-host", "-o", "run", "train.py")
    texts = (tmp_path / "run" / "run.json").read_text() + (tmp_path / "run" / "launch.json").read_text()
    assert str(tmp_path) not in texts
    assert os.uname().nodename not in texts
    private = json.loads((tmp_path / "run" / "run.json").read_text())["private"]
    assert not any(private.values())


@pytest.mark.long
def test_importing_torch_costs_no_compiler(tmp_path):
    script(
        tmp_path, "import sys, torch; print([m for m in ('torch._dynamo', 'pyarrow', 'pandas') if m in sys.modules])"
    )
    bare = python(tmp_path, "train.py")
    assert record(tmp_path, "-o", "run", "train.py").stdout == bare.stdout == "[]\n"


@pytest.mark.long
def test_start_is_not_waited_for(tmp_path):
    """The first hand-over is on disk while the script still runs."""
    script(tmp_path, TRAIN.replace("main(20)", "main(1); import time; print('done', flush=True); time.sleep(30)"))
    command = [sys.executable, "-m", "gradaudit", "record", "-o", "run", "train.py"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        while "done" not in process.stdout.readline():
            pass
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                if len(load(tmp_path / "run").steps) == 1:
                    break
            except RunError:
                time.sleep(0.1)
        else:
            pytest.fail("the first step was not written")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


STEPS = """
    import os, sys
    import torch
    print(len(sys.argv), "GRADAUDIT_RECORD" in os.environ, flush=True)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        torch.nn.functional.cross_entropy(model(torch.ones(3, 4)), torch.tensor([0, 1, 1])).backward()
        optimizer.step()
"""


@pytest.mark.long
def test_a_command_longer_than_an_environment_variable(tmp_path):
    script(tmp_path, STEPS)
    names = [f"data/part-{number:020d}.parquet" for number in range(6000)]
    watched = record(tmp_path, "--quiet", "-o", "run", "train.py", *names)
    assert (watched.returncode, watched.stdout, watched.stderr) == (0, "6001 True\n", "")
    run = load(tmp_path / "run")
    assert len(run.steps) == 3
    assert run.meta.private.command[1:] == ["train.py", *names]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_command_that_leaves_no_room_for_the_recorder_runs_without_it(tmp_path):
    # Without the variable, which holds the run's long path, it just fits: a quarter of the stack is for both.
    tmp_path = tmp_path / ("d" * 250) / ("d" * 250) / ("d" * 250)
    script(tmp_path, "import os, sys; print(len(sys.argv), 'GRADAUDIT_RECORD' in os.environ)")
    program = """
        import os, resource, sys
        resource.setrlimit(resource.RLIMIT_STACK, (2**20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
        few = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
        own = [sys.executable, "-m", "gradaudit", "record", "-o", "run", "train.py"]
        bare = sum(len(text) + 9 for text in [*few, *few.values(), *own])
        names = ["x" * 91] * ((2**18 - bare - 400) // 100)
        os.execve(sys.executable, own + names, few)
    """
    launcher = script(tmp_path, program, "launcher.py")
    watched = python(tmp_path, str(launcher))
    (line,) = watched.stderr.splitlines()
    assert "not recording: arguments and environment leave no room" in line
    assert watched.returncode == 0
    assert watched.stdout.endswith(" False\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_paths_and_arguments_that_are_no_utf_8(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    script(tmp_path, STEPS, f"{name}.py")
    for options in (["-o", name], ["-o", f"{name}2", "--no-host"]):
        watched = record(tmp_path, *options, f"{name}.py", f"{name}.csv")
        assert (watched.returncode, watched.stdout) == (0, "2 True\n"), watched.stderr
        assert watched.stderr.count("\n") == 1
        assert "recorded 3 steps" in watched.stderr
        run = load(tmp_path / options[1])
        assert len(run.steps) == 3
        assert run.meta.name.startswith(r"caf\xe9")
        assert run.meta.private.command[1:] == ([] if "--no-host" in options else [r"caf\xe9.py", r"caf\xe9.csv"])
        json.loads((run.path / "launch.json").read_bytes())
    assert record(tmp_path, f"{name}.py").returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(load(folder).steps) == 3
    reported = python(tmp_path, "-m", "gradaudit", "analyze", "--show-host", str(folder))
    assert (reported.returncode, reported.stderr) == (0, "")
    assert r"caf\xe9" in reported.stdout


def test_a_program_that_cannot_be_executed_leaves_nothing(tmp_path):
    script(tmp_path, "no program", "program").chmod(0o755)
    for _ in range(2):
        refused = record(tmp_path, "-o", "deep/run", "--", "./program")
        assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
        assert not (tmp_path / "deep").exists()
    (tmp_path / "mine").mkdir()
    assert record(tmp_path, "-o", "mine", "--", "./program").returncode == 2
    assert list((tmp_path / "mine").iterdir()) == []
