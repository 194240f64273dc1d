"""What a long training of a tiny model leaves: resident memory on the way, and files and bytes at its end.

`python -m benchmarks.long_run [STEPS]`; a million steps by default, at the default budget, as `gradaudit record` would
record them. Parquet files are made at the end by a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

STEPS, FIRST = 1_000_000, 10_000
_TRAINING = """
import json, sys, time, torch
from pathlib import Path
from benchmarks import memory
from gradaudit.record import install, session
from gradaudit.record.patches.optimizer import arm
from gradaudit.record.settings import Settings
torch.set_num_threads(1)
torch.manual_seed(0)
folder, steps, first = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
inputs, targets = torch.randn(8, 4), torch.randint(0, 3, (8,))
recorded = folder.name != "bare"
awaited = {"awaited": True} if "awaited" in Settings.__struct_fields__ else {}
recording = None
if recorded:
    recording = session.start(Settings(directory=str(folder), quiet=True, **awaited))
    install.install()
    arm()
resident = {}
began = time.process_time()
for step in range(steps):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(inputs), targets).backward()
    optimizer.step()
    if step + 1 in (100, first, steps):
        resident[step + 1] = memory.resident()
found = {"resident": resident, "cpu": time.process_time() - began}
if recorded:
    files = recording.files
    thread = time.pthread_getcpuclockid(files.writer._thread.ident)
    found |= {"thread": time.clock_gettime(thread), "pyarrow": "pyarrow" in sys.modules}
    session.stop("finished")
found["peak"] = memory.peak()
print(json.dumps(found))
"""


def weighed(folder: Path) -> str:
    """The tables of a run on the disk."""
    files = [file for file in folder.glob("rank*/*") if file.suffix != ".json"]
    return f"{len(files)} files of {sum(file.stat().st_size for file in files) / 1e6:.2f} MB"


def main(steps: int) -> None:
    """Print a line for each figure."""
    first = min(FIRST, steps)
    with tempfile.TemporaryDirectory() as place:
        found = {}
        for name in ("bare", "run"):
            command = [sys.executable, "-c", _TRAINING, str(Path(place) / name), str(steps), str(first)]
            done = subprocess.run(command, capture_output=True, check=True, text=True)
            found[name] = json.loads(done.stdout)
        bare, run = found["bare"], found["run"]
        for step, resident in run["resident"].items():
            over = resident - bare["resident"][step]
            click.echo(f"- after {int(step):,} steps: {resident:.1f} MiB, {over:+.1f} MiB over bare")
        click.echo(f"- peak, the end included: {run['peak']:.1f} MiB, {run['peak'] - bare['peak']:+.1f} MiB over bare")
        click.echo(f"- the writer's thread: {1e6 * run['thread'] / steps:.1f} us of CPU time a step")
        click.echo(f"- on the disk when the training ends: {weighed(Path(place) / 'run')}")
        closing(Path(place) / "run")


def closing(run: Path) -> None:
    """Make the Parquet files, where this version makes them so late."""
    began = time.perf_counter()
    try:
        from gradaudit.record.storage import closing
    except ImportError:
        return
    closing.main(str(run))
    click.echo(f"- as Parquet: {weighed(run)}, made in {time.perf_counter() - began:.2f} s, pyarrow's import included")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
