"""`gradaudit record` waits for the command: signals, terminal, files and end are the command's own."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradaudit import endings
from gradaudit.record.child import ignoring_option
from tests.record.training import record, script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody waits for the command")

# Counts what it gets, and says so when told to end.
COUNTING = """
    import os, signal, sys, time
    got = []
    NAMES = ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGWINCH", "SIGALRM", "SIGCONT"]
    for name in NAMES:
        signal.signal(getattr(signal, name), lambda number, frame: got.append(number))
    print(os.getpid(), flush=True)
    while signal.SIGUSR2 not in got:
        time.sleep(0.01)
    print(sorted(got), flush=True)
"""


def start(folder, *arguments, **options):
    command = [sys.executable, "-m", "gradaudit", "record", "--quiet", "-o", "run", *arguments]
    options = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True, **options}
    return subprocess.Popen(command, cwd=folder, **options)


def until(what, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def ended(folder):
    return json.loads((folder / "run" / "ended.json").read_text())


@pytest.mark.parametrize("group", [False, True], ids=["alone", "group"])
def test_every_signal_arrives_once(tmp_path, group):
    script(tmp_path, COUNTING)
    with start(tmp_path, "train.py") as process:
        child = int(process.stdout.readline())
        assert child != process.pid
        sent = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT, signal.SIGALRM]
        for number in [*sent, signal.SIGUSR2]:
            # A signal that is pending and sent again is one: each is waited for.
            (os.killpg if group else os.kill)(process.pid, number)
            time.sleep(0.1)
        assert process.stdout.read() == f"{sorted(map(int, [*sent, signal.SIGUSR2]))}\n"
        assert process.wait() == 0
    assert ended(tmp_path) == {"pid": child, "exit_code": 0, "ended": ended(tmp_path)["ended"]}


def test_signals_for_the_group_that_come_together_arrive_once(tmp_path):
    script(tmp_path, COUNTING)
    with start(tmp_path, "train.py") as process:
        process.stdout.readline()
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            os.killpg(process.pid, number)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGUSR2)
        expected = sorted(map(int, (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2)))
        assert process.stdout.read() == f"{expected}\n"


def test_a_signal_for_the_group_at_the_very_start_arrives_once(tmp_path):
    """The command may send one before the process that waits for it is ready."""
    program = "trap 'echo got it' USR1; kill -USR1 0; for i in 1 2 3 4 5; do sleep 0.2; done"
    with start(tmp_path, "--", "/bin/sh", "-c", program) as process:
        assert process.stdout.read() == "got it\n"
        assert process.wait() == 0


@pytest.mark.parametrize("leave", ["os.setpgrp()", "os.setsid()"])
def test_a_command_that_left_the_group_gets_what_was_sent_to_it(tmp_path, leave):
    script(tmp_path, COUNTING.replace("got = []", f"got = []; {leave}"))
    with start(tmp_path, "train.py") as process:
        process.stdout.readline()
        try:
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.1)
            os.killpg(process.pid, signal.SIGUSR2)
            assert select.select([process.stdout], [], [], 10)[0], "the signals did not arrive"
            assert process.stdout.read() == f"{sorted(map(int, (signal.SIGINT, signal.SIGUSR2)))}\n"
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("sys.exit(3)", 3),
        ("os._exit(255)", 255),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("os.abort()", -signal.SIGABRT),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("os.killpg(0, signal.SIGTERM)", -signal.SIGTERM),
    ],
)
def test_the_end_is_the_commands(tmp_path, ending, code):
    set_up = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    script(tmp_path, f"import os, signal, sys\n{set_up}\n{ending}")
    with start(tmp_path, "train.py", stderr=subprocess.DEVNULL) as process:
        assert process.wait() == code
    facts = ended(tmp_path)
    assert facts["exit_code" if code >= 0 else "signal"] == abs(code)
    assert endings.ending(tmp_path / "run").state("finished") == {
        0: "finished", -signal.SIGINT: "interrupted",
    }.get(code, "failed" if code > 0 else "killed")  # fmt: skip


def alive(pid):
    return endings.alive(pid)


def test_kill_9_ends_the_command_too(tmp_path):
    script(tmp_path, COUNTING)
    with start(tmp_path, "train.py") as process:
        child = int(process.stdout.readline())
        process.kill()
        assert process.wait() == -signal.SIGKILL
        until(lambda: not alive(child))
    until(lambda: not members(process.pid))


def members(group):
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, of = (path / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of) == group and state != "Z":
            found.append(int(path.name))
    return found


def test_what_the_command_closes_is_closed_and_what_it_leaves_running_runs_on(tmp_path):
    script(tmp_path, """
        import os, subprocess, sys, time
        left = subprocess.Popen(["sleep", "60"], stdin=-3, stdout=-3, stderr=-3)
        print(left.pid, flush=True)
        for descriptor in (0, 1):
            os.close(descriptor)
        while not os.path.exists("go"):
            time.sleep(0.01)
        os._exit(0)
    """)  # fmt: skip
    with start(tmp_path, "train.py", stdin=subprocess.PIPE) as process:
        left = int(process.stdout.read())  # to its end
        with pytest.raises(BrokenPipeError):
            os.write(process.stdin.fileno(), bytes(10**6))
        assert process.poll() is None
        (tmp_path / "go").write_text("")
        assert process.wait() == 0
    assert alive(left)
    os.kill(left, signal.SIGKILL)


def test_a_command_that_cannot_be_executed_is_one_line(tmp_path):
    file = script(tmp_path, "no program", "program")
    file.chmod(0o755)
    refused = record(tmp_path, "-o", "run", "--", "./program")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines() == ["gradaudit: ./program: Exec format error"]


def test_callers_that_ignore_the_end_of_children_and_closed_pipes(tmp_path):
    code = "signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
    script(tmp_path, "import signal, sys; print(signal.getsignal(signal.SIGCHLD).name); sys.exit(4)")
    gradaudit = [sys.executable, "-m", "gradaudit", "record", "-o", "run", "train.py"]
    done = subprocess.run(
        [sys.executable, "-c", f"import os, signal, sys; {code}", *gradaudit],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "SIG_IGN\n")
    piped = record(tmp_path, "--quiet", "-o", "piped", "--", "sh", "-c", "yes | head -1")
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, "y\n", "")


class Terminal:
    """A shell's side of a terminal: the command is its foreground job."""

    def __init__(self, folder, *arguments):
        self.pid, self.end = pty.fork()
        if not self.pid:
            os.chdir(folder)
            os.execv(sys.executable, [sys.executable, "-m", "gradaudit", "record", "-o", "run", *arguments])
        self.shown = ""

    def until(self, text, seconds=120.0):
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.end], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.end, 4096).decode()
                except OSError:
                    break

    def key(self, key):
        os.write(self.end, key)


def test_ctrl_c_at_a_terminal_interrupts_once(tmp_path):
    script(tmp_path, """
        import time
        try:
            print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            time.sleep(0.5)
            print("cleaned up", flush=True)
            raise
    """)  # fmt: skip
    terminal = Terminal(tmp_path, "train.py")
    terminal.until("ready")
    terminal.key(b"\x03")
    terminal.until("cleaned up")
    _, status = os.waitpid(terminal.pid, 0)
    assert os.WTERMSIG(status) == signal.SIGINT
    assert terminal.shown.count("interrupted\r") == 1
    assert endings.ending(tmp_path / "run").signal == signal.SIGINT


def test_ctrl_z_stops_what_the_shell_waits_for_and_fg_goes_on(tmp_path):
    # The shell itself: a job of its own group, in a session that has a terminal.
    script(tmp_path, COUNTING.replace('"SIGCONT"]', '"SIGCONT"][:-1]'))
    shell = script(tmp_path, f"""
        import os, signal, sys, time
        job = os.fork()
        if not job:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.execv({sys.executable!r}, [{sys.executable!r}, "-m", "gradaudit", "record", "-o", "run", "train.py"])
        _, status = os.waitpid(job, os.WUNTRACED)
        print("stopped", os.WIFSTOPPED(status), flush=True)
        os.killpg(job, signal.SIGCONT)
        time.sleep(0.5)
        os.kill(job, signal.SIGUSR2)
        print("exit", os.waitpid(job, 0)[1], flush=True)
    """, "shell.py")  # fmt: skip
    pid, end = pty.fork()
    if not pid:
        os.chdir(tmp_path)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, str(shell)])
    terminal = Terminal.__new__(Terminal)
    terminal.pid, terminal.end, terminal.shown = pid, end, ""
    terminal.until("\n")  # the job's process id
    terminal.key(b"\x1a")
    terminal.until("exit 0")
    os.waitpid(pid, 0)
    assert "stopped True" in terminal.shown
    assert f"[{int(signal.SIGUSR2)}]" in terminal.shown


def test_a_command_stopped_by_itself_alone_is_waited_for(tmp_path):
    script(tmp_path, COUNTING)
    with start(tmp_path, "train.py") as process:
        child = int(process.stdout.readline())
        os.kill(child, signal.SIGSTOP)
        until(lambda: "T" in Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0])
        os.kill(process.pid, signal.SIGCONT)  # passed on
        os.kill(process.pid, signal.SIGUSR2)
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("python -I train.py", "-I"),
        ("python3.12 -uE train.py", "-E"),
        ("/usr/bin/python3 -X dev -S -m train", "-S"),
        ("python -W ignore train.py -I", ""),
        ("python -c I", ""),
        ("python -mSite", ""),
        ("python --version -I", "-I"),
        ("python - -I", ""),
        ("torchrun -I train.py", ""),
    ],
)
def test_options_by_which_python_ignores_the_recorder(command, option):
    program, *arguments = command.split()
    assert ignoring_option(program, arguments) == option
