"""A run without a step says what happened instead, at the end of `record` and when it is analyzed."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from gradaudit import endings
from gradaudit.reading.run import RunError, load
from gradaudit.record import milestones
from gradaudit.record.settings import Settings
from tests.record.training import record as recorder
from tests.record.training import script

# One interpreter imports torch and forks a child for each script: the import costs more than what they do.
DRIVER = """
    import json, os, runpy, sys
    import torch
    from gradaudit.record import install, session
    from gradaudit.record.settings import Settings
    import pyarrow

    torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # imports the compiler, once for all children
    install.install()
    for line in sys.stdin:
        file, directory, host = json.loads(line)
        if not (child := os.fork()):
            os.makedirs(directory)
            open(directory + "/launch.json", "x").write("{}")
            session._registered = True  # no exit handler: it is called here, as the interpreter would
            session.start(Settings(directory=directory, quiet=True, host=host))
            code = 0
            try:
                runpy.run_path(file, run_name="__main__")
            except BaseException as error:
                sys.last_value, code = error, 1
            session._at_exit()
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    file = script(tmp_path_factory.mktemp("driver"), DRIVER)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(file)], text=True, **pipes) as process:
        yield process
        process.stdin.close()


BACKWARD = """
    model = torch.nn.Linear(4, 2)
    torch.nn.functional.cross_entropy(model(torch.randn(3, 4)), torch.tensor([0, 1, 1])).backward()
"""
EVALUATION = """
    with torch.no_grad():
        for _ in range(5):
            torch.nn.functional.cross_entropy(torch.randn(3, 2), torch.tensor([0, 1, 1]))
"""
STOPPED = """
    from gradaudit.record.recording import Recording
    def broken(*arguments):
        raise RuntimeError("no memory for that")
    Recording.before_step = broken
    torch.optim.SGD(model.parameters(), lr=0.1).step()
"""
STEP = """
    torch.optim.SGD(model.parameters(), lr=0.1).step()
"""
LIMIT = """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
"""
KILLED = "    import signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "torch was imported, but no backward pass was seen; the script ended without an error"),
        (EVALUATION, "no backward pass was seen (5 evaluation losses were seen); the script ended without an error"),
        (BACKWARD * 3, "ran 3 backward passes, but no step of an optimizer was seen; the script ended without"),
        (EVALUATION + KILLED, "(4 evaluation losses were seen); the script was killed"),
        (BACKWARD + KILLED, "ran 1 backward pass, but no step of an optimizer was seen; the script was killed"),
        ("    raise ValueError('bad\\ndata')", "no backward pass was seen; the script ended with ValueError: bad"),
        ("    raise KeyboardInterrupt", "no backward pass was seen; the script ended with KeyboardInterrupt"),
        ("    raise SystemError", "the script ended with SystemError"),
        ("    os._exit(3)", "no backward pass was seen; the script failed"),
        (LIMIT + BACKWARD + STEP, "the recorder was disabled: OSError: [Errno 27] File too large"),
        (BACKWARD + STOPPED, "the recorder was disabled: RuntimeError: no memory for that in before_step; the script"),
    ],
)
def test_what_happened_instead(tmp_path, driver, text, said):
    file = script(tmp_path, "import os\nimport torch\n" + textwrap.dedent(text))
    driver.stdin.write(json.dumps([str(file), str(tmp_path / "run"), True]) + "\n")
    driver.stdin.flush()
    driver.stdout.readline()
    with pytest.raises(RunError, match=re.escape(said)) as caught:
        load(tmp_path / "run")
    assert str(caught.value).startswith(f"{tmp_path}/run holds no step: ")
    assert "\n" not in str(caught.value)


def test_without_host_an_error_is_its_type_alone(tmp_path, driver):
    file = script(tmp_path, "raise ValueError('/home/secret')")
    driver.stdin.write(json.dumps([str(file), str(tmp_path / "run"), False]) + "\n")
    driver.stdin.flush()
    driver.stdout.readline()
    with pytest.raises(RunError, match=r"ended with ValueError$"):
        load(tmp_path / "run")
    (facts,) = endings.starts(tmp_path / "run")
    assert "secret" not in json.dumps(facts)


def test_a_step_leaves_nothing_to_explain_and_few_writes_before_it(tmp_path, driver):
    training = textwrap.dedent(BACKWARD) + "torch.optim.SGD(model.parameters(), lr=0.1).step()"
    count = """
        import json
        from pathlib import Path
        write = Path.replace
        written = []
        def counted(self, target):
            written.append(str(target))
            return write(self, target)
        Path.replace = counted
    """
    many = textwrap.dedent(EVALUATION).replace("range(5)", "range(3000)")
    text = "import torch\n" + textwrap.dedent(count) + many + f"print(len(written))\n{training}\n" + training
    file = script(tmp_path, text)
    driver.stdin.write(json.dumps([str(file), str(tmp_path / "run"), True]) + "\n")
    driver.stdin.flush()
    assert 5 <= int(driver.stdout.readline()) <= 18
    assert driver.stdout.readline() == "0\n"
    assert not (tmp_path / "run" / "starts").exists()
    assert len(load(tmp_path / "run").steps) == 2


def record(folder, *command, quiet=False, **options):
    """`gradaudit record` of a command that imports no torch: its standard error."""
    told = [sys.executable, "-m", "gradaudit", "record", *(["--quiet"] * quiet), "-o", "run", *command]
    return subprocess.run(told, cwd=folder, capture_output=True, text=True, check=False, **options).stderr.splitlines()


def test_record_says_at_its_end_that_torch_was_never_imported(tmp_path):
    script(tmp_path, "")
    (line,) = record(tmp_path, "train.py")
    assert line == f"gradaudit: no step was recorded: {endings.NEVER}"
    with pytest.raises(RunError, match="the command never imported torch"):
        load(tmp_path / "run")
    assert record(tmp_path, "--force", "train.py", quiet=True) == []


def test_a_python_that_ignores_the_recorder_is_named(tmp_path):
    script(tmp_path, "raise SystemExit(3)")
    for option in ("-I", "-E", "-S"):
        (line,) = record(tmp_path, "--force", "--", sys.executable, option, "train.py")
        assert f"because python {option} ignores it" in line
        with pytest.raises(RunError, match=f"because python {option} ignores it"):
            load(tmp_path / "run")


def test_a_recorder_that_cannot_start_is_told_once(tmp_path):
    """Where it was told already, the end of `record` is silent; who analyzes the run is told again."""
    script(tmp_path, "", "fake/torch/__init__.py")
    script(tmp_path, "import torch")
    (line,) = record(tmp_path, "train.py", env={**os.environ, "PYTHONPATH": f"{tmp_path}/fake:{sys.path[0]}"})
    assert line.startswith("gradaudit: not recording: ")
    with pytest.raises(RunError, match="the recorder was disabled"):
        load(tmp_path / "run")


def test_the_process_that_came_furthest_speaks(tmp_path):
    starts = tmp_path / "starts"
    starts.mkdir()
    (tmp_path / "launch.json").write_text("{}")
    for pid, facts in enumerate(({}, {"backwards": 40, "state": "finished"}, {"evaluations": 900}, {"losses": 2}), 1):
        (starts / f"{pid}.json").write_text(json.dumps({"pid": pid, **facts}))
    (starts / "5.json").symlink_to("/dev/zero")
    os.mkfifo(starts / "6.json")
    (starts / "7.json").write_text("{" * 10**6)
    (starts / "8.json").write_text('{"pid": "x", "backwards": -1, "error": 3, "state": []}')
    with pytest.raises(RunError, match="ran 40 backward passes"):
        load(tmp_path)


def test_a_step_that_was_never_written_is_named(tmp_path):
    (tmp_path / "launch.json").write_text("{}")
    mine = milestones.Milestones(Settings(directory=str(tmp_path)))
    mine.begin()
    mine.count("backwards")
    mine.stepped()
    mine.facts["backwards"] = 0  # what follows is not written each time
    mine.stepped()
    said = "torch was imported and an optimizer made a step, but none was written; the script still runs"
    assert endings.why_empty(tmp_path) == said
    mine.written()
    assert endings.starts(tmp_path) == []


def test_a_killed_command_without_torch_is_named(tmp_path):
    script(tmp_path, f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})")
    (line,) = record(tmp_path, "train.py")
    assert line.endswith("; the command was ended by SIGKILL")


BACKWARDS = """
    import os, resource, signal, sys, time
    import torch
    most = resource.RLIM_INFINITY
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
    model = torch.nn.Linear(4, 2)
    for _ in range(3):
        torch.nn.functional.cross_entropy(model(torch.ones(3, 4)), torch.tensor([0, 1, 1])).backward()
    print(signal.sigpending(), flush=True)
"""


def test_a_limit_of_file_size_does_not_end_a_training_before_its_first_step(tmp_path):
    script(tmp_path, BACKWARDS)
    done = recorder(tmp_path, "--quiet", "-o", "run", "train.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")


def test_a_recorder_that_cannot_start_is_not_ended_by_a_limit_and_names_no_folder(tmp_path):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))"
    script(tmp_path, f"import os, signal\nsignal.signal(signal.SIGXFSZ, 0)\nos.environ.get('LIMIT') and exec({limit!r})"
                     "\nimport torch; print('trained')")  # fmt: skip
    broken = "raise OSError(13, 'Permission denied', '/home/alice/libtorch.so')"
    script(tmp_path, "", "fake/torch/__init__.py")
    script(tmp_path, broken, "fake/torch/nn/__init__.py")
    path = f"{tmp_path}/fake:{sys.path[0]}"
    limited = recorder(tmp_path, "-o", "limited", "train.py", PYTHONPATH=path, LIMIT="1")
    assert (limited.returncode, limited.stdout) == (0, "trained\n")
    for option, kept in (("--quiet", "alice"), ("--no-host", "PermissionError")):
        done = recorder(tmp_path, option, "-o", f"run{option}", "train.py", PYTHONPATH=path)
        assert done.stdout == "trained\n"
        (facts,) = endings.starts(tmp_path / f"run{option}")
        assert kept in facts["disabled"]
        assert ("alice" in facts["disabled"]) == (kept == "alice")


def test_without_host_no_fault_of_the_recorder_names_a_folder(tmp_path):
    text = """
        import torch
        from gradaudit.record.observe.between import StepObserver
        def broken(*arguments):
            raise OSError(13, "Permission denied", "/home/alice/x")
        StepObserver.on_loss = broken
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            torch.nn.functional.cross_entropy(model(torch.ones(3, 4)), torch.tensor([0, 1, 1])).backward()
            optimizer.step()
    """
    script(tmp_path, text)
    assert recorder(tmp_path, "--no-host", "-o", "run", "train.py").returncode == 0
    run = load(tmp_path / "run")
    (fault,) = run.meta.disabled
    texts = [fault.reason, *run.events["message"]]
    assert len(texts) == 2
    assert all("PermissionError" in text and "alice" not in text for text in texts), texts


def test_a_disk_that_hangs_is_waited_for_once(tmp_path, monkeypatch):
    hangs, calls = threading.Event(), []

    def hang(*arguments, **options):
        calls.append(arguments)
        hangs.wait(30)
        raise OSError

    (tmp_path / "launch.json").write_text("{}")
    monkeypatch.setattr(milestones, "_PATIENCE", 0.2)
    monkeypatch.setattr(Path, "mkdir", hang)
    started = time.monotonic()
    mine = milestones.Milestones(Settings(directory=str(tmp_path)))
    mine.begin()
    for _ in range(5):
        mine.disabled("no memory")
    mine.end("finished", None)
    mine.written()
    hangs.set()
    assert len(calls) == 1
    assert 0.2 <= time.monotonic() - started < 2
