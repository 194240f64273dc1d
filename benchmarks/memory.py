"""How much memory a process took; run as a program: what recording adds to that of the 10.9 M GPT.

`python -m benchmarks.memory` trains for 40 steps in processes of their own, bare and recorded at every step, in turn,
each also with pyarrow in the process, as a script has it that reads its data with it.
"""

import statistics
import subprocess
import sys
from pathlib import Path

import click

ROUNDS = 3
_TRAINING = """
import sys, tempfile, torch
from pathlib import Path
from benchmarks import columns, memory
from benchmarks.overhead import sample
from benchmarks.trainings import transformer
if sys.argv[2]:
    import pyarrow.parquet
torch.set_num_threads(1)
torch.manual_seed(0)
training = transformer(1, 0, 0)
with tempfile.TemporaryDirectory() as folder:
    make = {"bare": columns.bare, "recorded": lambda *a: columns.recorded(*a, every=1)}[sys.argv[1]]
    with make(training, Path(folder)) as column:
        sample(training, column, 40)
        print(memory.peak(), memory.resident())
"""


def peak() -> float:
    """MiB of resident memory that this program reached; Linux only.

    Not `getrusage`: its figure begins, across exec, with what the parent had reached.
    """
    return _status("VmHWM:")


def resident() -> float:
    """MiB of resident memory of this program now; Linux only."""
    return _status("VmRSS:")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no line {name}")


def _run(kind: str, library: str) -> list[float]:
    command = [sys.executable, "-c", _TRAINING, kind, library]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return [float(text) for text in output.split()]


def main() -> None:
    """Print a line for a process without pyarrow, and one for a process with it."""
    for library in ("", "pyarrow"):
        pairs = [(_run("bare", library), _run("recorded", library)) for _ in range(ROUNDS)]
        bare = statistics.median(one[0] for one, _ in pairs)
        added = [statistics.median(other[place] - one[place] for one, other in pairs) for place in (0, 1)]
        click.echo(
            f"- {'with' if library else 'without'} pyarrow in the process: {bare:.0f} MiB bare at its peak; recorded "
            f"at every step {added[0]:+.1f} MiB at the peak, {added[1]:+.1f} MiB after 40 steps"
        )


if __name__ == "__main__":
    main()
