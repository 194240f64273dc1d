"""Commands end when told, and leave nothing behind: real processes, real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradaudit.endings import alive
from tests.build import build_run
from tests.commands.tasks import deaf, one_is_killed, slow, unlinked
from tests.commands.test_analyze import QUIET_LOSS

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from gradaudit.commands import workers
from gradaudit.commands.ends import unwinding
from gradaudit.commands.errors import report_errors
from tests.commands import tasks
workers.cores = lambda: 2
with report_errors(), unwinding():
    for done in workers.each([Path(name) for name in sys.argv[2:]], getattr(tasks, sys.argv[1]), lambda text: None):
        print(done.value, done.code, flush=True)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def start(task, paths):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, task.__name__, *map(str, paths)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def pids(paths, *, timeout=60):
    """The processes that work on these paths, once all of them do."""
    files = [path.with_suffix(".pid") for path in paths]
    deadline = time.monotonic() + timeout
    while not all(file.exists() and file.read_text() for file in files):
        assert time.monotonic() < deadline, "the workers did not begin"
        time.sleep(0.02)
    return [int(file.read_text()) for file in files]


def gone(processes, within=2.0):
    """Whether none of these processes lives any more, or none does soon."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(map(alive, processes)):
            return True
        time.sleep(0.02)
    return not any(map(alive, processes))


@pytest.mark.parametrize(("task", "times"), [(slow, 1), (slow, 3), (deaf, 2)])
def test_ctrl_c_ends_the_command_and_its_workers(tmp_path, task, times):
    paths = [tmp_path / str(number) for number in range(6)]
    process = start(task, paths)
    working = pids(paths[:2])
    began = time.monotonic()
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody gets it
        time.sleep(0.05)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "gradaudit: interrupted\n")
    assert time.monotonic() - began < 10
    assert gone(working, within=0.1)
    assert not list(tmp_path.glob("*.tmp"))
    assert len(list(tmp_path.glob("*.pid"))) == 2, "another run was begun"


def test_sigterm_ends_the_command_and_its_workers(tmp_path):
    paths = [tmp_path / str(number) for number in range(3)]
    process = start(slow, paths)
    working = pids(paths[:2])
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (143, "", "")
    assert gone(working, within=0.1)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_command_that_is_killed_takes_its_workers_with_it(tmp_path):
    paths = [tmp_path / str(number) for number in range(3)]
    process = start(deaf, paths)
    working = pids(paths[:2])
    process.kill()
    process.communicate(timeout=20)
    assert gone(working, within=2.0)


def test_where_the_system_does_not_tell_a_worker_notices_that_its_parent_is_gone(tmp_path):
    """Without prctl: the pipe that came with the process ends."""
    paths = [tmp_path / str(number) for number in range(2)]
    process = start(unlinked, paths)
    working = pids(paths)
    process.kill()
    process.communicate(timeout=20)
    assert gone(working, within=2.0)


def test_a_killed_worker_is_replaced_and_its_run_tried_alone(tmp_path):
    paths = [tmp_path / str(number) for number in range(4)]
    process = start(one_is_killed, paths)
    (victim,) = pids(paths[:1])
    os.kill(victim, signal.SIGKILL)
    out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "")
    assert out.splitlines() == ["alone 0", "done 0", "together 0", "together 0"]


def test_ctrl_c_ends_an_analysis_of_many_runs(tmp_path):
    runs = [build_run(tmp_path / str(number), loss=QUIET_LOSS).path for number in range(4)]
    program = (
        "from gradaudit.commands import workers as w; w.cores = lambda: 2; import gradaudit.__main__ as m; m.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "analyze", "-q", *runs],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline()  # the first is done, others are not
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "gradaudit: interrupted\n")
    assert not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "audits.html").exists()


def test_ctrl_c_while_the_program_itself_is_imported(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "gradaudit", "list"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "gradaudit: interrupted\n")
