"""Analyzes mutated runs, a process for each, forked from one that has everything imported.

`python -m tests.hostile.worker SEED ...` prints a line of JSON for each: what it did, and what went wrong, if anything.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

MOST_SECONDS = 10  # of CPU
MOST_WAIT = 300  # of a clock on a busy machine: whoever waits for a pipe waits for ever
MOST_MEMORY = 1000  # MB
SPACE = 6_000_000_000  # bytes of addresses: far beyond what is allowed, for the sake of the machine


def analyze(run: Path, report: Path) -> int:
    """The exit code of `gradaudit analyze` in this process."""
    from gradaudit.__main__ import main

    sys.argv = ["gradaudit", "analyze", str(run), "--format", "terminal", "--format", f"json={report}"]
    try:
        main(prog_name="gradaudit")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 0 if ending.code is None else 1
    return 0


def child(run: Path, place: Path) -> None:
    """Analyze with standard output and error in files, then leave at once."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(place / name, os.O_CREAT | os.O_WRONLY), number)
    resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
    resource.setrlimit(resource.RLIMIT_CPU, (3 * MOST_SECONDS, 3 * MOST_SECONDS))
    code = 99
    try:
        code = analyze(run, place / "report.json")
    except BaseException as error:  # the parent is told by the code
        os.write(2, f"Traceback: {error!r}".encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        status = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
        (place / "memory").write_text(status)
        os._exit(code)


def watched(run: Path, place: Path) -> list[str]:
    """What is wrong with how a run is analyzed; nothing, if all is well."""
    process = os.fork()
    if not process:
        child(run, place)
    deadline = time.monotonic() + MOST_WAIT
    while True:
        ended, status, usage = os.wait4(process, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.wait4(process, 0)
            return [f"hangs: no end after {MOST_WAIT} s"]
        time.sleep(0.005)
    return list(faults(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, place))


def faults(code: int, seconds: float, place: Path):
    """Each thing that may not be."""
    errors = (place / "err").read_text(errors="replace")
    if code < 0:
        yield f"crashes: signal {-code}"
        return
    if code not in (0, 1, 2):
        yield f"ends with {code}"
    if seconds > MOST_SECONDS:
        yield f"takes {seconds:.1f} s"
    memory = int((place / "memory").read_text()) / 1024
    if memory > MOST_MEMORY:
        yield f"takes {memory:.0f} MB"
    if "Traceback" in errors or "Warning" in errors or len(errors.splitlines()) > (1 if code == 2 else 0):
        yield f"says on standard error: {errors[-3000:]}"
    if code == 2 and not errors:
        yield "says nothing"
    if code in (0, 1):
        yield from report_faults(place / "report.json")


def report_faults(file: Path):
    """What is wrong with the JSON."""

    def refuse(text: str) -> None:
        raise ValueError(f"{text} is no JSON")

    try:
        audit = json.loads(file.read_bytes(), parse_constant=refuse)
    except (OSError, ValueError) as error:
        yield f"writes no JSON: {error}"
        return
    for outcome in audit["outcomes"]:
        if outcome["result"]["status"] == "failed":
            yield f"fails in {outcome['diagnoser']}: {outcome['result']['traceback'][-1500:]}"


def main() -> None:
    """Try every seed."""
    from tests.hostile.mutations import mutate
    from tests.hostile.runs import RUNS

    names, seeds = list(RUNS), [int(text) for text in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        for name in names:
            RUNS[name](top / "sound" / name)
        with open(os.devnull, "w") as nowhere:  # everything is imported by analyzing once
            kept, sys.stdout = sys.stdout, nowhere
            for name in ("killed", "healthy_classifier"):
                analyze(top / "sound" / name, top / "warm.json")
            sys.stdout = kept
        for seed in seeds:
            _try(seed, names[seed % len(names)], top, mutate)


def _try(seed: int, name: str, top: Path, mutate) -> None:
    import shutil

    place = top / f"seed-{seed}"
    place.mkdir()
    shutil.copytree(top / "sound" / name, place / "run")
    process = os.fork()
    if not process:  # what a mutation takes would count as the analysis's: it inherits this process's memory
        try:
            (place / "done").write_text(json.dumps(mutate(place / "run", seed)))
        finally:
            os._exit(0)
    os.waitpid(process, 0)
    done = json.loads((place / "done").read_text())
    wrong = watched(place / "run", place)
    print(json.dumps({"seed": seed, "run": name, "done": done, "wrong": wrong}), flush=True)
    os.chmod(place / "run", 0o700)
    shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
