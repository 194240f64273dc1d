"""How the cost of one recorded step grows with tensors and with parameters; no training, one core.

The two hooks of a recorded step are called as the optimizer calls them, on gradients that do not
change. What is printed is the CPU time of the thread, the best and the median of several steps.
"""

import statistics
import tempfile
import time
from pathlib import Path

import click
import torch

from gradaudit.record import session
from gradaudit.record.module_hooks import ModuleHooks
from gradaudit.record.recording import Recording
from gradaudit.record.settings import Settings

PER_PARAMETER, PER_TENSOR = 1.5e-9, 6e-6  # seconds; the aim
# (tensors, parameters); the last needs 2.2 GB for weights and gradients.
SIZES = (
    *((10, parameters) for parameters in (100_000, 1_000_000, 10_000_000, 50_000_000, 200_000_000)),
    *((tensors, tensors * 1000) for tensors in (100, 1000, 10_000)),
    (148, 124_000_000),
)


def seconds(tensors: int, parameters: int, steps: int) -> list[float]:
    """CPU seconds of each of `steps` recorded steps, the first few left out."""
    each = parameters // tensors
    rows = max(1, round(each**0.5))
    weights = [torch.nn.Parameter(torch.randn(rows, each // rows)) for _ in range(tensors)]
    for weight in weights:
        weight.grad = torch.randn_like(weight) * 1e-3
    optimizer = torch.optim.SGD(weights, lr=1e-3)
    times = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(directory=str(Path(folder) / "run"), every=1, quiet=True)
        recording = Recording(settings, warn=session.warn, module_hooks=ModuleHooks(session.guarded))
        for _ in range(steps + 2):
            began = time.thread_time()
            recording.before_step(optimizer, None)
            recording.after_step(optimizer)
            times.append(time.thread_time() - began)
        recording.close("finished")
    return times[2:]


def main() -> None:
    """Print a row for each size."""
    torch.set_num_threads(1)
    assert session.current() is None
    click.echo("| tensors | parameters | a recorded step, best (ms) | median | aim | best / aim |")
    click.echo("|---|---|---|---|---|---|")
    for tensors, parameters in SIZES:
        times = seconds(tensors, parameters, 5 if parameters > 50_000_000 or tensors > 5000 else 15)
        aim = PER_PARAMETER * parameters + PER_TENSOR * tensors
        best = min(times)
        click.echo(
            f"| {tensors:,} | {parameters:,} | {1000 * best:.2f} | {1000 * statistics.median(times):.2f} "
            f"| {1000 * aim:.2f} | {best / aim:.2f} |"
        )


if __name__ == "__main__":
    main()
