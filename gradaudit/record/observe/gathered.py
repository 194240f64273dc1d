"""What the threads of a recording share of what they see between two steps."""

from collections.abc import Callable
from typing import Any

from gradaudit.record.observe.batches import Batches
from gradaudit.record.observe.evaluation.splits import forget as forget_places
from gradaudit.record.observe.graph import Graph
from gradaudit.record.observe.loss.losses import LossRegistry
from gradaudit.record.observe.model_state import ModelState
from gradaudit.record.observe.outputs import Outputs
from gradaudit.record.observe.schedules import SCHEDULES, Schedules
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.record.observers import Observers

SAMPLED = 4  # losses of one step whose input is sampled: those of the first micro-steps


class Gathered:
    """What the threads of a recording share."""

    def __init__(
        self, table: TensorTable, observers: Observers, warn: Callable[[str], None], *, data: bool = True
    ) -> None:
        forget_places()
        self.table, self.observers, self.warn = table, observers, warn
        self.book = LossRegistry(data=data)
        self.graph, self.batches, self.outputs = Graph(table), Batches(enabled=data), Outputs(enabled=data)
        self.model_state, self.schedules = ModelState(), Schedules()
        self.evaluated: list[dict[str, Any]] = []
        self.passes = 0  # evaluation passes begun so far
        self.batches_per_epoch = self.loader_batch_size = 0
        self.after_step, self.time = -1, 0.0  # of the last step taken
        self.due = True  # the coming step of some optimizer has statistics
        self.samples_left = SAMPLED  # inputs of losses still to be sampled in this step
        self.cleared: dict[int, Any] = {}  # by optimizer: were its gradients zeroed since its last step
        self.worker: bool | None = None  # this process loads data, and its losses are nobody's
        self.training: set[int] = set()  # threads that made a backward
        self.settle: Callable[[], None] = lambda: None  # closes a step made by hand, before an evaluation
        self.by_hand: Callable[[], list[Any]] = list  # what this thread changes by hand

    def next_pass(self, loss: Any) -> int:
        """The number of an evaluation pass that begins, with a `loss` that has a graph or with none."""
        if loss is not None:
            self.observers.call(SCHEDULES, self.schedules.memory.on_evaluation, loss)
        self.passes += 1
        return self.passes - 1

    def sample_next(self, due: bool) -> None:
        """Whether statistics of the coming step are due: then the inputs of its losses are sampled, too."""
        self.due, self.samples_left = due, SAMPLED if due else 0
