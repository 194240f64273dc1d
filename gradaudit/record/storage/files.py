"""The run's folder: claiming it for this process, and the facts in run.json."""

import getpass
import os
import platform
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import torch

import gradaudit
from gradaudit import endings
from gradaudit.record.observe.batches import BATCHES
from gradaudit.record.observe.calls import CALLS, Calls
from gradaudit.record.observe.gathered import Gathered
from gradaudit.record.observe.graph import GRAPH
from gradaudit.record.observe.model_state import MODEL_STATE
from gradaudit.record.observe.outputs import OUTPUTS
from gradaudit.record.observe.schedules import SCHEDULES
from gradaudit.record.observers import LABEL_COUNTS, REQUIRES_GRAD, NotWrittenError
from gradaudit.record.settings import MOST_ARGUMENTS, Settings, in_utf8
from gradaudit.record.storage.steps import WriteBatch
from gradaudit.record.storage.writer import Writer
from gradaudit.schema import DataFacts, GraphFacts, Meta, ModelStateFacts, OutputFacts, PrivateFacts, ScheduleFacts


class Files:
    """The files of this process. Made at the first optimizer step: helpers and workers write nothing.

    Raises NotWrittenError when there can be no folder for them.
    """

    def __init__(
        self, settings: Settings, gathered: Gathered, calls: Calls, overdue: Callable[[], WriteBatch | None]
    ) -> None:
        self.settings, self.gathered, self.calls = settings, gathered, calls
        self.directory = Path(settings.directory)
        self.rank, self.world_size = rank_and_world()
        self.pid = os.getpid()
        self.restarts = _restarts()
        try:
            self.folder, self.attempt = _claim(self.directory, self.rank)
        except OSError as error:
            raise NotWrittenError from error
        self.started, self.ended, self.state = _now(), "", "running"
        self.exit_code: int | None = None
        self.private = _private(settings) if settings.host else PrivateFacts()
        # Only the first process of rank 0 speaks for the run; every other one keeps its facts beside its files.
        main = self.rank == 0 and self.attempt == 0
        self.facts_file = self.directory / "run.json" if main else self.folder / "rank.json"
        # Written by its thread: what the training's thread writes, a limit or a slow disk would have it suffer for.
        self.writer = Writer(self.folder, self.facts, self.facts_file, overdue, parquet=not settings.awaited)

    def close(self, state: str) -> None:
        """Finish the writer's thread, which writes `state` last."""
        self.state, self.ended = state, _now()
        self.gathered.observers.call(MODEL_STATE, self.gathered.model_state.end, self.gathered.table)
        self.writer.close()

    def facts(self) -> bytes:
        """The content of run.json now; called by the writer's thread."""
        gathered = self.gathered
        table, observers = gathered.table, gathered.observers
        tensors = observers.call(REQUIRES_GRAD, table.facts_now, default=None) or list(table.facts)
        device = next(
            (
                p.device
                for parameter_set in list(table.parameter_sets.values())
                for p in parameter_set.parameters() or []
            ),
            None,
        )
        meta = Meta(
            name=in_utf8(self.settings.name or self.directory.name),
            gradaudit_version=gradaudit.__version__,
            started=self.started,
            ended=self.ended,
            state=self.state,
            pid=self.pid,
            exit_code=self.exit_code,
            python_version=platform.python_version(),
            torch_version=str(torch.__version__),
            device=_device_name(device),
            rank=self.rank,
            world_size=self.world_size,
            attempt=self.attempt,
            restarts=self.restarts,
            every=self.settings.every or 0,
            tensors=observers.call(GRAPH, gathered.graph.told, tensors, default=tensors),
            modules=observers.call(CALLS, self.calls.facts, default=None) or list(table.modules),
            optimizers=list(table.optimizers),
            losses=observers.call(LABEL_COUNTS, gathered.book.facts, default=None) or gathered.book.plain_facts(),
            data=DataFacts(batch_size=gathered.loader_batch_size, batches_per_epoch=gathered.batches_per_epoch),
            graph=observers.call(GRAPH, gathered.graph.facts, default=GraphFacts()),
            loaders=observers.call(BATCHES, gathered.batches.facts, default=[]),
            outputs=observers.call(OUTPUTS, gathered.outputs.facts, default=OutputFacts()),
            model_state=observers.call(MODEL_STATE, gathered.model_state.facts, default=ModelStateFacts()),
            schedules=observers.call(SCHEDULES, gathered.schedules.facts, default=ScheduleFacts()),
            disabled=list(observers.disabled.values()),
            private=self.private,
        )
        return msgspec.json.format(msgspec.json.encode(meta), indent=1)


def rank_and_world() -> tuple[int, int]:
    """This process's rank and the number of ranks."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    try:
        return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        return 0, 1


def _restarts() -> int:
    """How often torchrun has restarted the ranks."""
    try:
        return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    except ValueError:
        return 0


def _claim(directory: Path, rank: int) -> tuple[Path, int]:
    """A folder that belongs to this process alone: creating it is the claim, so two processes never share one."""
    directory.mkdir(parents=True, exist_ok=True)
    for attempt in range(1000):
        folder = directory / (f"rank{rank:05d}" if attempt == 0 else f"rank{rank:05d}.{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder, attempt
    raise FileExistsError(f"{directory} already holds 1,000 attempts of rank {rank}")


def _device_name(device: torch.device | None) -> str:
    if device is None:
        return ""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _private(settings: Settings) -> PrivateFacts:
    try:
        directory = os.getcwd()
    except OSError:  # it was deleted
        directory = ""
    return PrivateFacts(
        host=in_utf8(socket.gethostname()), user=in_utf8(_user()), directory=in_utf8(directory),
        command=[] if settings.explicit else _command(Path(settings.directory)),
    )  # fmt: skip


def _command(directory: Path) -> list[str]:
    """The command line that `gradaudit record` left; that of this process where it cannot be read."""
    found = endings.facts(directory, "launch.json", most=endings.MOST_LAUNCH).get("command")
    if isinstance(found, list) and found and all(isinstance(part, str) for part in found):
        return [in_utf8(part) for part in found[:MOST_ARGUMENTS]]
    return [in_utf8(part) for part in sys.orig_argv[:MOST_ARGUMENTS]]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def exit_state() -> str:
    """How the interpreter is ending, as far as it tells: an uncaught exception was printed before exit handlers run."""
    error = getattr(sys, "last_value", None)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "failed" if error is not None else "finished"
