"""Steps that are like the one before: of most steps only a few numbers are kept while they are made.

A hook's own code takes 5 µs when it ran a moment ago and 20 µs after a forward pass has emptied the processor's
caches. So between two steps that have something due, the hooks of a training that does the same thing over and over
touch one small object each: loss, backward, step. What follows from such a step is worked out when the next hook of
another kind comes, or the writer's thread, for many steps at once.

What may not be missed ends it at once: another function or order of calls, another mode, other settings, a second
thread. Then what was kept is put where the hooks would have put it, and they go on.
"""

import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from gradaudit.record import idle
from gradaudit.record.internals import private
from gradaudit.record.modes import modes_open
from gradaudit.record.observe.clips import Clipping
from gradaudit.record.observe.loss.calls import node_key
from gradaudit.record.observe.loss.repeated import Repeated
from gradaudit.record.observe.optimizers import OptimizerLike
from gradaudit.record.observe.param_groups import Settings, settings_of, unchanged
from gradaudit.record.observe.walking import Way, lit

_functions_open: Any = private(torch._C, "_len_torch_function_stack") or int


class Made(NamedTuple):
    """One step that was made."""

    began: float  # when the optimizer's step did
    objective: Any
    mean: Any
    targets: int
    batch_size: int
    settings: Settings
    norm: Any  # of the gradients, before they were clipped; None where they were not


class Steady:
    """What a step has to be like, and what was seen of the one that is being made. Only the training's thread is in it.

    `drain` and `leave` are called under the recording's lock; the former by the writer's thread, too.
    """

    AWAY, READY, CALLED, DIFFERENTIATED, STEPPING = range(-1, 4)  # what was seen last

    # What the last step was like.
    name: str
    like: Repeated
    optimizer: "weakref.ref[OptimizerLike]"
    number: int
    thread: int
    between: Any
    way: Way
    settings: Settings
    shape: tuple[int, ...]
    clipping: Clipping | None
    turned: int
    # What was seen of this one.
    key: Any
    value: Any
    mean: Any
    norm: Any
    targets: int
    batch_size: int
    began: float

    def __init__(self, recording: Any) -> None:
        self.recording = recording
        self.batches = recording.gathered.batches
        self.at = self.AWAY
        self.made: deque[Made] = deque()
        self.left = 0  # steps until something is due
        self.stopped = False  # another thread has come

    def between_steps(self) -> bool:
        """Whether this thread is at the beginning of a step."""
        return self.at == self.READY and threading.get_ident() == self.thread

    def loss(self, name: str, result: Any, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """A loss function was called; whether that is all there is to know of it."""
        if self.at != self.READY or name != self.name or threading.get_ident() != self.thread or self.stopped:
            return False
        if modes_open() or _functions_open() or idle.captures or self.batches.turned != self.turned:
            return False
        if not lit(self.way):
            return False
        found = self.like.read(result, args, named)
        if found is None:
            return False
        self.mean, self.targets, self.batch_size = found
        self.key = node_key(result.grad_fn)
        self.at = self.CALLED
        return True

    def backward(self, root: Any) -> bool:
        """A backward is about to run from `root` alone, into the parameters' gradients; whether it is as the last."""
        if self.at != self.CALLED or type(root) is not torch.Tensor or threading.get_ident() != self.thread:
            return False
        if self.stopped or root.numel() != 1 or root.is_meta or modes_open() or _functions_open():
            return False
        self.value = root.item() if root.is_cpu else root.detach().clone()
        self.norm = None
        self.between.running = True
        self.at = self.DIFFERENTIATED
        return True

    def clip(self, tensors: Sequence[Any], threshold: Any, norm: Any, norm_type: Any) -> bool:
        """Gradients were clipped by their norm; whether as in the step before."""
        like = self.clipping
        if (
            self.at != self.DIFFERENTIATED
            or like is None
            or self.norm is not None
            or threading.get_ident() != self.thread
        ):
            return False
        if self.stopped or type(norm) is not torch.Tensor or len(tensors) != like.tensors or norm_type != 2.0:
            return False
        if type(threshold) is not float or threshold != like.threshold:
            return False
        self.norm = norm.item() if norm.is_cpu else norm.detach().clone()
        return True

    def step(self, optimizer: OptimizerLike) -> bool:
        """The optimizer is about to step, without a closure; whether it is the one that did before."""
        if self.at != self.DIFFERENTIATED or threading.get_ident() != self.thread:
            return False
        if self.optimizer() is not optimizer:
            return False
        groups = optimizer.param_groups
        if self.stopped or len(groups) != len(self.shape) or (self.norm is None) != (self.clipping is None):
            return False
        for group, size, known in zip(groups, self.shape, self.settings.options, strict=True):
            if len(group["params"]) != size:
                return False
            if not unchanged(group, known):
                self.settings = settings_of(groups)
                break
        self.began = time.perf_counter()
        self.at = self.STEPPING
        return True

    def stepped(self, optimizer: Any) -> bool:
        """The optimizer has stepped."""
        if self.at != self.STEPPING or self.optimizer() is not optimizer or threading.get_ident() != self.thread:
            return False
        mine = (self.value, self.mean, self.targets, self.batch_size, self.settings, self.norm)
        self.made.append(Made(self.began, *mine))
        self.left -= 1
        self.at = self.READY if self.left > 0 else self.AWAY
        return True
