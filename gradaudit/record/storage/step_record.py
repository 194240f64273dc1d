"""What is kept of one optimizer step until the writer's thread takes it, and reads the tensors in it."""

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gradaudit.record.measure.histograms import Sampled
from gradaudit.record.measure.rows import Snapshot
from gradaudit.record.measure.samples import Sample
from gradaudit.record.observe.loss.calls import LossCall
from gradaudit.record.observe.operations import Operations
from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.record.observe.parameter_set import ParameterSet


@dataclass(eq=False, kw_only=True)
class StepRow:
    """A row of table `steps`: one field a column, in the order and with the units of `schema.STEPS`.

    What is not given when it is made stays with the class until it is known: most steps never set most of it.
    """

    optimizer: int
    step: int
    global_step: int
    time: float
    seconds: float
    objective: float = field(default=math.nan, init=False)
    mean_loss: float = field(default=math.nan, init=False)
    loss: int = field(default=-1, init=False)
    targets: int = field(default=0, init=False)
    ignored_targets: int = field(default=0, init=False)
    learning_rate: Sequence[float] = field(default=(), init=False)
    weight_decay: Sequence[float] = field(default=(), init=False)
    momentum: Sequence[float] = field(default=(), init=False)
    gradient_norm: float = field(default=math.nan, init=False)
    clip_threshold: float = field(default=math.nan, init=False)
    clip_kind: int = field(default=0, init=False)
    clipped_fraction: float = field(default=math.nan, init=False)
    amp_scale: float = field(default=math.nan, init=False)
    skipped: bool = field(default=False, init=False)
    micro_steps: int = field(default=0, init=False)
    batch_size: int = field(default=0, init=False)
    training: int = -1
    stale: int = field(default=-1, init=False)
    recorded: bool = False
    weight_checksum: int = field(default=0, init=False)


@dataclass(eq=False)
class TensorStatistics:
    """What is measured of an optimizer's tensors at one step."""

    identifiers: Any  # [tensors]
    owned: Any  # [tensors], whether the optimizer updates them
    gradients: Any  # [tensors, COLUMNS], or the slot of a ring that holds them
    sharded: bool = False  # the norm over all tensors is known to no single rank
    probed: dict[str, Any] = field(default_factory=dict)  # columns of `tensors` found in the sample, [tensors] each
    rows_due: bool = False  # whether `snapshots` are taken at this step in any case
    snapshots: list[tuple[int, Snapshot]] = field(default_factory=list)
    histograms: list[Sampled] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class StepRecord:
    """The facts of one step; tensors among them are read later."""

    row: StepRow
    roots: list[tuple[torch.Tensor | float, torch.Tensor | None]]  # backward roots and the AMP scale they carry
    calls: list[LossCall]
    logged: float | torch.Tensor | None = None
    logged_loss: int = -1  # the loss function that stands for logged losses
    clip_norm: torch.Tensor | None = None
    clipped: torch.Tensor | None = None  # share of elements that value clipping changed
    amp_scale: torch.Tensor | None = None  # gradients still carry it (fused optimizers)
    found_inf: torch.Tensor | None = None
    cleared: torch.Tensor | bool | None = None
    weights: torch.Tensor | None = None  # their checksum
    tensors: TensorStatistics | None = None
    samples: Sequence[tuple[int, Sample]] = ()  # by module
    operations: Operations | None = None  # of a close look


@dataclass(eq=False, slots=True)
class OpenStep:
    """A step between its two hooks. `frame` is the identity of the optimizer's wrapper on the stack."""

    frame: int
    optimizer: "weakref.ref[OptimizerLike]"
    closure: bool = False
    unwatched: bool = False  # nobody tells when the closure has returned
    record: StepRecord | None = None
    parameter_set: ParameterSet | None = None

    @property
    def measured(self) -> bool:
        """Whether the gradients were measured, and the weights before the step."""
        return self.record is not None and self.record.tensors is not None
