"""However a training ends, and whatever becomes of the disk: its own exit code, at most one line, a run that loads."""

import json
import math
import os
import random
import shlex
import subprocess
import sys
import time
from typing import NamedTuple

import pytest

from gradaudit.reading.run import RunError, load
from gradaudit.schema.plain_rows import columns_of, frames_of
from tests.record.training import record, run, script

# One process imports torch and forks a child for each training: the import costs more than the training.
# Small segments: a kill at a random moment must also hit the closing of one and the renaming of its file.
DRIVER = """
    import atexit, ctypes, json, os, resource, shutil, signal, sys, threading, time, traceback
    import pyarrow.parquet
    import torch
    from gradaudit.record import install, session
    from gradaudit.record.settings import Settings
    from gradaudit.record.storage import writer
    from torch.nn import functional

    torch.set_num_threads(1)
    writer.SEGMENT_ROWS, writer.FACTS_SECONDS = 200, 0.0

    def written(directory):
        \"\"\"Wait until the first hand-over is on the disk.\"\"\"
        file = f"{directory}/rank00000/steps-000000.rows"
        while (recording := session.current()) is not None and recording.files.writer.error is None:
            if os.path.exists(file) and os.path.getsize(file):
                break
            time.sleep(0.005)

    def train(directory, steps, fault, progress):
        if directory:
            install.install()
            session.start(Settings(directory=directory, every=1, quiet=True))
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Embedding(20, 8), torch.nn.Flatten(), torch.nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        fault = compile(fault, "fault", "exec")
        for step in range(steps):
            exec(fault)
            optimizer.zero_grad()
            out = functional.dropout(model(torch.tensor([[1, 2], [2, 3]])))
            loss = functional.cross_entropy(out, torch.tensor([0, 1]))
            loss.backward()
            optimizer.step()
            os.pwrite(progress, b"%08d" % (step + 1), 0)
            if step == 4 and directory:
                written(directory)
        print(loss.item(), model[2].weight.sum().item(), torch.rand(1).item())

    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # imports the compiler, once for all children
    for line in sys.stdin:
        task = json.loads(line)
        progress = os.open(task["beside"] + ".steps", os.O_RDWR | os.O_CREAT)
        child = os.fork()
        if not child:
            for number in (1, 2):
                os.dup2(os.open(f"{task['beside']}.{number}", os.O_WRONLY | os.O_CREAT), number)
            code = 0
            try:
                train(task["directory"], task["steps"], task["fault"], progress)
            except SystemExit as error:
                code = error.code
            except BaseException:
                traceback.print_exc()
                code = 1
            atexit._run_exitfuncs()
            sys.stdout.flush()
            os._exit(code)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Ended(NamedTuple):
    code: int
    out: str
    lines: list[str]  # of stderr
    steps: int


class Driver:
    """Runs trainings, one after the other."""

    def __init__(self, folder, process):
        self.folder, self.process, self.number = folder, process, 0

    def start(self, directory, steps=60, fault="pass"):
        self.number += 1
        self.beside = self.folder / f"training{self.number}"
        task = {"beside": str(self.beside), "directory": str(directory or ""), "steps": steps, "fault": fault}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def steps(self):
        return int(self.beside.with_suffix(".steps").read_bytes() or 0)

    def end(self):
        code = int(self.process.stdout.readline())
        out, err = (self.beside.with_suffix(f".{number}").read_text() for number in (1, 2))
        return Ended(code, out, err.splitlines(), self.steps())

    def train(self, *arguments, **options):
        self.start(*arguments, **options)
        return self.end()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("driver")
    command = [sys.executable, str(script(folder, DRIVER))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Driver(folder, process)
        process.stdin.close()


@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.long)])
def test_kill_9_at_any_moment_loses_at_most_the_ring(tmp_path, driver, times):
    moments = random.Random(times)
    for number in range(times):
        directory = tmp_path / f"run{number}"
        child = driver.start(directory, steps=10**6)
        while not driver.steps():
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.8))
        os.kill(child, 9)
        code, _, lines, made = driver.end()
        assert (code, lines) == (-9, [])
        try:
            found = load(directory)
        except RunError:
            assert made <= 64, f"{made} steps were made and nothing can be read"
            continue
        assert found.problems == ()
        assert found.state == "killed"
        # 32 steps wait for the next hand-over, and as many in each of those on their way to the disk.
        assert made - 5 * 32 <= len(found.steps) <= made + 1
        assert found.steps["step"].tolist() == list(range(len(found.steps)))
        kept = found.training(0).recorded.tolist()
        lost = set(range(kept[-1] + 1 if kept else 0)) - set(kept)
        # On a busy machine the writer falls behind, and says so.
        assert not lost or "dropped" in set(found.events["kind"]), sorted(lost)
        still = len(kept) + len(lost)
        assert abs(still - len(found.steps)) <= 32, "statistics and losses of a hand-over are written one by one"


@pytest.fixture(scope="module")
def bare(driver):
    ended = driver.train(None)
    assert ended.code == 0
    assert ended.lines == []
    return ended


def stops(ended, bare, reason=""):
    """The training is what it is without us, and one line says what became of the recording."""
    assert ended.out == bare.out
    assert ended.code == 0
    (line,) = ended.lines
    assert line.startswith("gradaudit: ")
    assert "stopped" in line or "lost" in line
    assert reason in line


LAST = """
if step == 35:
    functional.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]))
    time.sleep(600)
"""


def test_kill_9_after_a_pause_loses_nothing_older_than_two_seconds(tmp_path, driver):
    child = driver.start(tmp_path / "run", steps=60, fault=LAST)
    while driver.steps() < 35:
        time.sleep(0.01)
    time.sleep(5.0)  # the rows take two seconds at most, where the machine is not busy
    os.kill(child, 9)
    code, _, lines, made = driver.end()
    assert (code, lines, made) == (-9, [], 35)
    found = load(tmp_path / "run")
    assert (found.state, found.problems) == ("killed", ())
    assert found.steps["step"].tolist() == list(range(35))
    assert found.steps["recorded"].all()
    (evaluation,) = found.evaluations.to_dict("records")
    assert (evaluation["after_step"], evaluation["targets"]) == (34, 2)
    assert evaluation["mean_loss"] == pytest.approx(math.log(3))
    (facts,) = json.loads((tmp_path / "run" / "run.json").read_text())["losses"]
    assert sum(facts["label_counts"]) == 2 * 35


# Python ignores SIGXFSZ; a script may have it end the process again.
@pytest.mark.parametrize("action", ["SIG_IGN", "SIG_DFL"])
def test_a_limit_on_the_size_of_files(tmp_path, driver, bare, action):
    limit = f"""
if step == 5:
    signal.signal(signal.SIGXFSZ, signal.{action})
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
"""
    stops(driver.train(tmp_path / "run", fault=limit), bare, "File too large")
    assert len(load(tmp_path / "run").steps) >= 1
    for file in (tmp_path / "run" / "rank00000").glob("*.rows"):
        content = file.read_bytes()
        assert list(frames_of(content, columns_of(content)))[-1].end == len(content), f"the end of {file.name} is torn"


def test_a_limit_on_the_size_of_files_before_the_first_step(tmp_path, driver, bare):
    # Eight bytes are what the driver counts steps in; the line of ours finds no more room than that.
    limit = """
if step in (0, 59):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN if step else signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1 if step else 8, resource.RLIM_INFINITY))
"""
    ended = driver.train(tmp_path / "run", fault=limit)
    assert (ended.code, ended.out) == (0, bare.out)
    assert not (tmp_path / "run" / "run.json").exists()


def test_descriptors_closed_and_opened_by_the_script(tmp_path, driver, bare):
    closing = f"""
if step == 20:
    os.closerange(3, progress)
    os.closerange(progress + 1, 256)
    theirs = [open(f"{tmp_path}/user{{number}}", "wb", buffering=0) for number in range(8)]
    inherited = [file.write(b"user" * 10) for file in theirs]
if step == 50:
    time.sleep(1.2)
"""
    ended = driver.train(tmp_path / "run", fault=closing)
    assert ended == bare
    assert [(tmp_path / f"user{number}").stat().st_size for number in range(8)] == [40] * 8
    assert len(load(tmp_path / "run").steps) == 60


def test_standard_error_closed_and_its_number_given_to_a_file(tmp_path, driver, bare):
    given = f"""
if step == 5:
    os.close(2)
    theirs = open("{tmp_path}/user", "wb", buffering=0)
    assert theirs.fileno() == 2
    shutil.rmtree("{tmp_path}/run")
"""
    ended = driver.train(tmp_path / "run", fault=given)
    assert ended == bare
    assert (tmp_path / "user").read_bytes() == b""


def test_signals_that_the_script_waits_for(tmp_path, driver, bare):
    # Blocked when the writer's thread exists already, they are the script's to wait for.
    waiting = """
if step == 5:
    mine = {signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM, signal.SIGRTMIN}
    signal.pthread_sigmask(signal.SIG_BLOCK, mine)
    for each in mine:
        os.kill(os.getpid(), each)
        assert signal.sigtimedwait({each}, 10).si_signo == each
"""
    assert driver.train(tmp_path / "run", fault=waiting) == bare
    assert len(load(tmp_path / "run").steps) == 60


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB of its own; only root may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = run(tmp_path, "mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder))
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    run(tmp_path, "umount", "--lazy", str(folder))


FILL = """
if step == 5:
    try:
        with open(FILLER, "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    except OSError:
        pass
"""


def test_a_full_disk(driver, bare, small_disk):
    fill = FILL.replace("FILLER", repr(str(small_disk / "filler")))
    stops(driver.train(small_disk / "run", fault=fill), bare, "No space left on device")
    assert len(load(small_disk / "run").steps) >= 1


def test_a_disk_that_is_full_from_the_start(driver, bare, small_disk):
    (small_disk / "filler").write_bytes(bytes(256 * 1024))
    stops(driver.train(small_disk / "run"), bare, "No space left on device")


def test_a_folder_deleted_in_mid_run(tmp_path, driver, bare):
    stops(driver.train(tmp_path / "run", fault=f"step == 40 and shutil.rmtree({str(tmp_path / 'run')!r})"), bare)


def test_a_folder_made_read_only_in_mid_run(tmp_path, driver, bare):
    # Root may write anywhere, so root becomes somebody else.
    rank = tmp_path / "run" / "rank00000"
    shut = f"""
if step == 40:
    os.chmod({str(rank.parent)!r}, 0o555)
    os.chmod({str(rank)!r}, 0o555)
    os.geteuid() == 0 and os.seteuid(65534)
"""
    stops(driver.train(tmp_path / "run", fault=shut), bare, "Permission denied")
    for folder in (rank.parent, rank):
        folder.chmod(0o755)
    assert len(load(tmp_path / "run").steps) >= 1


def test_a_writer_thread_that_dies(tmp_path, driver, bare):
    die = """
for thread in threading.enumerate():
    if step == 5 and thread.name == "gradaudit-writer":
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
"""
    stops(driver.train(tmp_path / "run", fault=die), bare, "ended by SystemExit")
    assert len(load(tmp_path / "run").steps) >= 1


def test_a_clock_that_is_set_back(tmp_path, driver, bare):
    ended = driver.train(tmp_path / "run", fault="time.time = lambda now=time.time() - 3600: now")
    assert ended == bare
    steps = load(tmp_path / "run").steps
    assert len(steps) == 60
    assert steps["time"].is_monotonic_increasing
    assert (steps["seconds"].iloc[1:] >= 0).all()


TRAIN = """
    import torch
    torch.manual_seed(0)
    model = torch.nn.Linear(10, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.randn(4, 10)), torch.tensor([0, 1, 2, 0]))
        loss.backward()
        optimizer.step()
    print(loss.item())
"""


@pytest.mark.long
def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    script(tmp_path, f"{TRAIN}\n    raise SystemExit(3)")
    watched = record(tmp_path, "-o", "file/run", "train.py")
    assert watched.returncode == 3
    assert len(watched.stdout.splitlines()) == 1
    reason = "file/run cannot be written: Not a directory"
    assert watched.stderr == f"gradaudit: not recording: {reason}; the command runs without it\n"


@pytest.mark.long
def test_two_commands_given_one_folder_at_the_same_time(tmp_path):
    script(tmp_path, TRAIN)
    command = [sys.executable, "-m", "gradaudit", "record", "-o", "run", "train.py"]
    pair = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=240)[1] for process in pair]
    assert sorted(process.returncode for process in pair) == [0, 2], said
    refused = next(text for text, process in zip(said, pair, strict=True) if process.returncode == 2)
    assert "give another -o" in refused
    assert len(load(tmp_path / "run").steps) == 60


@pytest.mark.long
def test_two_trainings_of_one_command_at_the_same_time(tmp_path):
    script(tmp_path, TRAIN)
    one = shlex.join([sys.executable, "train.py"])
    watched = record(tmp_path, "-o", "run", "--", "sh", "-c", f"{one} & {one}; wait")
    assert watched.returncode == 0
    # The two write the same number each, to one pipe: the ends of their lines may come last.
    said = "".join(watched.stdout.split())
    assert said[: len(said) // 2] == said[len(said) // 2 :] != ""
    found = load(tmp_path / "run")
    assert len(found.steps) == 60
    (problem,) = found.problems
    assert problem.message.startswith("rank00000.1 was written by another process")
