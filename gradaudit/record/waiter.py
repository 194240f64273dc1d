"""Waits for the recorded command: passes signals on, writes down how it ended, and ends in the same way.

Run as a script by an interpreter without site-packages, so that the memory it takes for a week is small.
Every signal arrives blocked: they are taken one by one.
"""

import os
import signal
import sys
import time

SETTLE = 0.01  # seconds in which a signal for the whole process group has reached all of it
STOPS = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
LONGEST = 30.0  # seconds that Parquet files may take
_CLOSING = (
    "import sys; sys.path.append(sys.argv[1]); from gradaudit.record.storage.closing import main; main(sys.argv[2])"
)


def main(pid: int, listener: int, directory: str, quiet: bool, ignored: str) -> None:
    """Wait for `pid`, the command recorded into `directory`; `listener` has blocked all signals since before it."""
    _let_go_of_files()
    status = _wait(pid, listener)
    try:
        _write(directory, pid, status)
        _tell(directory, quiet, ignored)
        _make_parquet(directory)
    except Exception:
        pass  # the command's exit code matters more than what is said of it
    _end_as(status)


def _let_go_of_files() -> None:
    """Keep standard error only: what the command closes must be closed."""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
    except OSError:
        pass
    try:
        held = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return
    for descriptor in held:
        if descriptor > 2:
            try:  # noqa: SIM105  (contextlib is memory)
                os.close(descriptor)
            except OSError:
                pass  # that of the listing


def _wait(pid: int, listener: int) -> int:
    """The status of `pid` at its end; signals that were sent to this process alone are passed on to it."""
    group = _Group(listener)
    last_stop = -1.0
    while True:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if found and not os.WIFSTOPPED(status):
            group.close()
            return status
        if found:
            # The shell waits for this process: it has to be seen stopped, too. A SIGSTOP sent to the command alone
            # is between the sender and the command; after Ctrl-Z it is how some programs stop themselves.
            by = os.WSTOPSIG(status)
            if by in STOPS or (by == signal.SIGSTOP and time.monotonic() - last_stop < 1.0):
                os.kill(os.getpid(), signal.SIGSTOP)
            continue
        number = signal.sigwaitinfo(signal.valid_signals()).si_signo
        if number == signal.SIGCHLD:
            continue
        if number == signal.SIGTSTP:
            last_stop = time.monotonic()
        # A command that left the group (setsid, setpgrp) gets what was sent to the group from here.
        if not (group.reached(number) and _together(pid)):
            try:  # noqa: SIM105
                os.kill(pid, number)
            except OSError:
                pass  # it belongs to somebody else now


def _together(pid: int) -> bool:
    """Whether `pid` is in this process's group."""
    try:
        return os.getpgid(pid) == os.getpgrp()
    except OSError:
        return False


class _Group:
    """Tells a signal for the whole process group, which the command got as well, from one for this process.

    A child in the same group takes no signal but when it is asked: what is pending there was sent to the group.
    `first` is such a child from before the command's start, and is not asked.
    """

    def __init__(self, first: int) -> None:
        self.listener = 0
        self._listen()
        # Sent to the group, and not taken by this process yet. What reached both children is one signal.
        self._left = _pending(first) | self._ask()
        _end(first)

    def _listen(self) -> None:
        asked, self._asking = os.pipe()
        self._answer, answering = os.pipe()
        try:
            child = os.fork()
        except OSError:
            child = -1  # too many processes: every signal is then passed on
        if child:
            os.close(asked)
            os.close(answering)
            self.listener = max(child, 0)
            return
        try:
            os.close(self._asking)
            os.close(self._answer)
            while os.read(asked, 1):  # it ends when the process that asks does
                seen = 0
                while (taken := signal.sigtimedwait(signal.valid_signals(), 0)) is not None:
                    seen |= 1 << (taken.si_signo - 1)
                os.write(answering, seen.to_bytes(8, "little"))
        finally:
            os._exit(0)

    def reached(self, number: int) -> bool:
        """Whether signal `number` was sent to the group."""
        time.sleep(SETTLE)
        self._left |= self._ask()
        bit = 1 << (number - 1)
        found = bool(self._left & bit)
        self._left &= ~bit
        return found

    def _ask(self) -> int:
        """The signals that were sent to the group since the last question, a bit for each."""
        try:
            os.write(self._asking, b"?")
            answer = os.read(self._answer, 8)
        except OSError:
            answer = b""
        if not answer:  # somebody killed it
            self.close()
            self._listen()
        return int.from_bytes(answer, "little")

    def close(self) -> None:
        """End the child."""
        os.close(self._asking)
        os.close(self._answer)
        _end(self.listener)
        self.listener = 0


def _pending(process: int) -> int:
    """The signals that `process` has blocked and got, a bit for each."""
    found = 0
    try:
        with open(f"/proc/{process}/status") as lines:
            for line in lines:
                if line.startswith(("SigPnd:", "ShdPnd:")):
                    found |= int(line.split()[1], 16)
    except (OSError, ValueError):
        return 0
    return found


def _end(process: int) -> None:
    if process:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _write(directory: str, pid: int, status: int) -> None:
    """Write down how the command ended, as a new file with that name."""
    killed = os.WIFSIGNALED(status)
    how = f'"signal": {os.WTERMSIG(status)}' if killed else f'"exit_code": {os.WEXITSTATUS(status)}'
    now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    temporary = os.path.join(directory, f"ended.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        os.write(descriptor, f'{{"pid": {pid}, {how}, "ended": "{now}"}}\n'.encode())
    finally:
        os.close(descriptor)
    os.replace(temporary, os.path.join(directory, "ended.json"))


def _tell(directory: str, quiet: bool, ignored: str) -> None:
    """Where nothing was recorded, say so and why; else remove what was kept to be able to say it."""
    if os.path.exists(os.path.join(directory, "run.json")):
        folder = os.path.join(directory, "starts")
        if os.path.isdir(folder) and not os.path.islink(folder):
            for name in os.listdir(folder):
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)
        return
    if quiet or not os.path.isdir(directory):
        return
    from pathlib import Path

    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from gradaudit.endings import starts, why_empty

    where = Path(directory)
    if not any(facts.get("told") for facts in starts(where)):
        sys.stderr.write(f"gradaudit: no step was recorded: {why_empty(where, ignored)}\n")
        sys.stderr.flush()


def _make_parquet(directory: str) -> None:
    """Have Parquet files made of the rows, by a process of its own; the next Ctrl-C ends it, and the rows stay."""
    folders = [os.path.join(directory, name) for name in os.listdir(directory) if name.startswith("rank")]
    if not any(name.endswith(".rows") for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)):
        return
    while signal.sigtimedwait(signal.valid_signals(), 0) is not None:
        pass  # those that ended the command
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-P", "-c", _CLOSING, root, directory]
    silent = [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
    closing = os.posix_spawn(sys.executable, command, os.environ, file_actions=silent)
    until = time.monotonic() + LONGEST
    while not os.waitpid(closing, os.WNOHANG)[0]:
        taken = signal.sigtimedwait({*ENDS, signal.SIGCHLD}, 1.0)
        if time.monotonic() > until or (taken is not None and taken.si_signo in ENDS):
            _end(closing)
            return


def _end_as(status: int) -> None:
    """End as the command did."""
    if os.WIFSIGNALED(status):
        import resource

        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command's own core is enough
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
        os.kill(os.getpid(), number)
        os._exit(128 + number)  # the first process of a container cannot be killed from inside
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4] == "quiet", sys.argv[5])
