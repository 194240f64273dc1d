"""How much memory a process took."""

from pathlib import Path


def peak() -> float:
    """MiB of resident memory that this program reached; Linux only.

    Not `getrusage`: its figure begins, across exec, with what the parent had reached.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no line VmHWM")
