"""What the steps are timed with: nothing, statistics by hand, this recorder, and the tools of others.

Each column is a context manager over a training and a folder. It gives a `Column`: what to call
around a step, and what was kept. Tools that are not installed raise ImportError when entered.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.trainings import Training
from gradaudit.record import cadence, install, session
from gradaudit.record.patches.optimizer import arm
from gradaudit.record.settings import Settings
from gradaudit.schema import TENSORS


def _nothing(*_: Any) -> None:
    pass


@dataclass
class Column:
    """Calls around a step, and what the column kept; of this recorder also the CPU seconds that it spent."""

    before: Callable[[], None] = _nothing
    backward_done: Callable[[], None] = _nothing
    stepped: Callable[[float], None] = _nothing  # with the loss
    kept: Callable[[], str] = lambda: "nothing"
    spent: Callable[[], tuple[float, float]] | None = None  # in the hooks, in the writer's thread
    pause: Callable[[], None] = _nothing
    resume: Callable[[], None] = _nothing


@contextmanager
def bare(training: Training, folder: Path) -> Iterator[Column]:
    """The training alone."""
    yield Column()


@contextmanager
def by_hand(training: Training, folder: Path, more: bool) -> Iterator[Column]:
    """Four statistics of each gradient with .item(), as people write it; `more` adds three."""
    values: list[float] = []

    def measure() -> None:
        for parameter in training.model.parameters():
            gradient = parameter.grad
            assert gradient is not None
            values.extend(
                (gradient.mean().item(), gradient.std().item(), gradient.abs().max().item(), gradient.norm().item())
            )
            if more:
                zero = (gradient == 0).float().mean().item()
                values.extend((zero, gradient.isnan().sum().item(), parameter.norm().item()))

    yield Column(backward_done=measure, kept=lambda: f"{7 if more else 4} numbers a tensor and step, in memory")


@dataclass
class _Spent:
    """CPU seconds inside the recorder's methods, timed from outside."""

    hooks: float = 0.0
    original: Callable[..., Any] = field(default=session.guarded)

    def guarded(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        began = time.thread_time()
        try:
            return self.original(hook, *arguments)
        finally:
            self.hooks += time.thread_time() - began


@contextmanager
def recorded(training: Training, folder: Path, every: int | None) -> Iterator[Column]:
    """This recorder, with all that it does by default, or with the statistics of every step."""
    spent, constants = _Spent(), (cadence.FULL, cadence._LOOK)
    recording = session.start(Settings(directory=str(folder / "run"), every=every, quiet=True))

    def resume() -> None:
        install.install()
        arm()
        session.guarded, session._current = spent.guarded, recording
        if training.short and every is None:
            cadence.FULL = cadence._LOOK = 16

    def pause() -> None:
        session.guarded, session._current = spent.original, None
        cadence.FULL, cadence._LOOK = constants
        install.uninstall()
        recording.flush(wait=True)
        if recording.files is not None:
            while not recording.files.writer._queue.empty():
                time.sleep(0.01)
            with recording.files.writer.busy:
                pass

    def seconds() -> tuple[float, float]:
        if recording.files is None:
            return spent.hooks, 0.0
        identity = recording.files.writer._thread.ident
        assert identity is not None
        return spent.hooks, time.clock_gettime(time.pthread_getcpuclockid(identity))

    session._current = None
    try:
        yield Column(kept=lambda: _kept(folder / "run"), spent=seconds, pause=pause, resume=resume)
    finally:
        recording.close("finished")
        if recording.files is not None:
            # Closing waits 30 s in all, and the pauses of a long measurement have used them up.
            recording.files.writer._thread.join()


def _kept(folder: Path) -> str:
    """The rows and columns of table `tensors` that are on the disk, read back."""
    from gradaudit.reading.run import load

    run = load(folder)
    steps, rows = len(run.steps), len(run.trainings[0].recorded)
    tensors = len(run.meta.tensors)
    names = [column.name for column in TENSORS.columns if column.name not in TENSORS.key]
    filled = sum(bool((run.trainings[0].matrix(name) == run.trainings[0].matrix(name)).any()) for name in names)
    return (
        f"{filled} of {len(names)} columns of {tensors} tensors at {rows} of {steps} steps, and {steps} rows of losses"
    )


@contextmanager
def tensorboard(training: Training, folder: Path) -> Iterator[Column]:
    """SummaryWriter.add_histogram of every gradient."""
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(folder))
    named, step = dict(training.model.named_parameters()), [0]

    def measure() -> None:
        for name, parameter in named.items():
            writer.add_histogram(name, parameter.grad, step[0])
        step[0] += 1

    yield Column(backward_done=measure, kept=lambda: "a histogram of each gradient and step")
    writer.close()


@contextmanager
def wandb(training: Training, folder: Path, frequency: int) -> Iterator[Column]:
    """wandb.watch(log="all"), offline."""
    import wandb as tool

    with tool.init(mode="offline", dir=str(folder), settings=tool.Settings(silent=True, console="off")) as run:
        run.watch(training.model, log="all", log_freq=frequency)
        yield Column(
            stepped=lambda loss: run.log({"loss": loss}),
            kept=lambda: f"a histogram of each gradient and weight at every {frequency}. step",
        )
        run.unwatch(training.model)


@contextmanager
def torchmortem(training: Training, folder: Path) -> Iterator[Column]:
    """Autopsy with its default sampling."""
    from torchmortem import Autopsy

    with Autopsy(training.model, optimizer=training.optimizer) as autopsy:
        yield Column(stepped=lambda loss: autopsy.step(loss=loss), kept=lambda: "what its collectors sample, in memory")


@contextmanager
def gradsnitch(training: Training, folder: Path) -> Iterator[Column]:
    """gradsnitch.watch: one gradient norm and one update ratio of the whole model a step."""
    import gradsnitch as tool

    monitor, step, loss = tool.watch(training.model, training.optimizer), [0], [0.0]

    def log() -> None:
        monitor.log(step[0], loss[0])
        step[0] += 1

    def remember(value: float) -> None:
        loss[0] = value

    yield Column(backward_done=log, stepped=remember, kept=lambda: "4 numbers a step, in memory")


@contextmanager
def torch_audit(training: Training, folder: Path) -> Iterator[Column]:
    """autopatch(every_n_steps=1)."""
    from torch_audit import autopatch

    auditor = autopatch(training.model, optimizer=training.optimizer, every_n_steps=1, reporters=[], fail_level="FATAL")
    try:
        yield Column(kept=lambda: "findings only")
    finally:
        auditor.unpatch()


@contextmanager
def neural_observatory(training: Training, folder: Path) -> Iterator[Column]:
    """Observatory.watch with its default configuration."""
    from neural_observatory import Observatory

    observatory: Any = Observatory(training.model)
    observatory.watch()
    step = [0]

    def begin() -> None:
        observatory.step(step=step[0], epoch=0)
        step[0] += 1

    yield Column(before=begin, kept=lambda: "activations and gradients in circular buffers, in memory")
    observatory.stop()
