"""What a recording weighs on the disk, how fast the writer is, what start-up takes, and the memory it needs."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy
import torch

from benchmarks import columns, memory
from benchmarks.overhead import step
from benchmarks.trainings import perceptron
from gradaudit.record.storage import closing
from gradaudit.record.storage.writer import _Segment
from gradaudit.schema import TENSORS

_START = "import time; began = time.thread_time(); import torch; print(time.thread_time() - began)"


def weight() -> str:
    """Bytes for each number of a (step, tensor) record of a real training."""
    training = perceptron(256, 64, steps=0, default=0)
    with tempfile.TemporaryDirectory() as folder:
        with columns.recorded(training, Path(folder), every=1) as column:
            column.resume()
            for _ in range(3000):
                step(training, column)
            column.pause()
        files = sorted((Path(folder) / "run").rglob("tensors-*.parquet"))
        size = sum(file.stat().st_size for file in files)
    rows, values = 3000 * len(list(training.model.parameters())), len(TENSORS.columns) - len(TENSORS.key)
    return (
        f"{size / rows:.1f} bytes for each of {rows:,} records of {values} columns: {size / rows / values:.2f} a value"
    )


def writing() -> str:
    """Rows of table `tensors` that the writer appends, and that become Parquet at the end, for a second of CPU."""
    tensors, steps = 150, 3200
    generator = numpy.random.default_rng(0)
    # Logarithms of norms wander slowly from step to step.
    walks = numpy.exp(numpy.cumsum(generator.normal(0, 0.05, (steps, tensors)), axis=0)).ravel()
    with tempfile.TemporaryDirectory() as folder:
        segment = _Segment(Path(folder), TENSORS)
        spent = time.process_time()
        for first in range(0, steps, 32):
            part = walks[first * tensors : (first + 32) * tensors]
            table = {column.name: part for column in TENSORS.columns}
            table["optimizer"] = numpy.zeros(len(part))
            table["step"] = numpy.repeat(numpy.arange(first, first + 32), tensors)
            table["tensor"] = numpy.tile(numpy.arange(tensors), 32)
            table["has_grad"] = numpy.ones(len(part))
            table["gradient_nan"] = table["gradient_inf"] = numpy.zeros(len(part))
            segment.append(table)
        segment.close()
        appended = time.process_time() - spent
        closing.to_parquet(Path(folder), lambda: True)
        closed = time.process_time() - spent - appended
    rows = steps * tensors / 1e6
    return (
        f"{rows / appended:.1f} million rows of {len(TENSORS.columns)} columns a second of CPU time; "
        f"{rows / closed:.1f} million become Parquet at the end"
    )


def start_up() -> str:
    """CPU time of ``import torch`` under the command and without it, in turn."""
    bare, watched = [], []
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "start.py"
        script.write_text(_START)
        for turn in range(5):
            record = ["-m", "gradaudit", "record", "--quiet", "-o", f"{folder}/{turn}"]
            for times, extra in ((bare, []), (watched, record)):
                command = [sys.executable, *extra, str(script)]
                times.append(float(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
    difference = statistics.median(one - other for one, other in zip(watched, bare, strict=True))
    spread = max(bare) - min(bare)
    return (
        f"import torch takes {statistics.median(bare):.2f} s of CPU time, and {1000 * difference:+.0f} ms under "
        f"gradaudit record; the bare times differ by up to {1000 * spread:.0f} ms"
    )


def help_shown() -> str:
    """Wall time of ``gradaudit --help``, from the start of Python on."""
    times = []
    for _ in range(15):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "gradaudit", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    return f"{statistics.median(times):.2f} s, {min(times):.2f} s at best; the aim is 0.2 s"


def main() -> None:
    """Print a line for each."""
    torch.set_num_threads(1)
    for name, measure in (
        ("Weight", weight),
        ("Writer", writing),
        ("Start-up", start_up),
        ("Help", help_shown),
    ):
        click.echo(f"- {name}: {measure()}.")
    click.echo("- Memory, 10.9 M GPT:")
    memory.main()


if __name__ == "__main__":
    main()
