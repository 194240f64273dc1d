"""A close look: every operation of torch in the steps that the user asked for, through a dispatch mode.

A dispatch mode sees what the kernels are called with, below autograd and below the fast paths of torch.nn, which look
for a function mode and would round differently with one. So it changes no bit. It costs a multiple of a step and is
there on demand only. Compiled code is left alone: a mode would keep it from running.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch
from torch import nn

from gradaudit.record.internals import private, tracing, transformed
from gradaudit.record.modes import unseen
from gradaudit.record.observe.frame_locals import variables_of

MOST = 200_000  # operations kept of a close look; some hundred bytes each
_EMPTY = ("empty", "new_empty", "empty_like", "empty_strided", "resize_")  # hold what was in memory before
_dispatch = sys.modules.get("torch.utils._python_dispatch")


class Operation(msgspec.Struct, frozen=True):
    """What an operation computed, but for the numbers that its device still has."""

    name: str
    phase: str
    module: int  # identity; 0 outside of modules
    place: str
    node: int
    shape: list[int]
    dtype: str


@dataclass(eq=False)
class Operations:
    """The operations of one step, and of each [NaN, infinite, largest finite absolute value]."""

    found: list[Operation]
    numbers: torch.Tensor  # [operations, 3], float64
    modules: dict[int, int] = field(default_factory=dict)  # number in run.json, by identity

    def rows(self, step: int) -> list[dict[str, Any]]:
        """The rows of table `operations`, of this global step."""
        known = zip(self.found, self.numbers.tolist(), strict=True)
        return [
            {
                "step": step, "operation": place, "name": one.name, "phase": one.phase,
                "module": self.modules.get(one.module, -1), "place": one.place, "node": one.node,
                "shape": one.shape, "dtype": one.dtype, "nan": int(nan), "inf": int(infinite), "largest": largest,
            }
            for place, (one, (nan, infinite, largest)) in enumerate(known)
        ]  # fmt: skip


class Trace(getattr(_dispatch, "TorchDispatchMode", object)):  # type: ignore[misc]
    """Looks at what every operation returns, and passes it on as it is."""

    def __init__(self, host: bool) -> None:
        super().__init__()
        self.resting = False  # the optimizer is at work
        self.found: list[Operation] = []
        self.numbers: list[torch.Tensor] = []
        self.room = MOST
        self.error: Exception | None = None
        self._host = host

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operation, and note what it returned."""
        result = func(*args, **(kwargs or {}))
        if not self.resting and self.error is None and self.room > 0 and not func.is_view:
            try:
                with unseen():
                    self._look(func, result)
            except Exception as error:  # told at the end of the step; the operation is the script's
                self.error = error
        return result

    def _look(self, func: Any, result: Any) -> None:
        name = str(func)
        if tracing() or transformed() or name.split(".")[1] in _EMPTY:
            return
        outputs = result if isinstance(result, list | tuple) else [result]
        wanted = [one for one in outputs if type(one) in (torch.Tensor, nn.Parameter) and one.is_floating_point()]
        wanted = [one for one in wanted if one.numel() and one.device.type != "meta"]
        if not wanted:
            return
        phase, node = _phase_and_node()
        module, place = _where(self._host)
        for output in wanted:
            self.room -= 1
            self.numbers.append(_numbers(output))
            self.found.append(Operation(name, phase, module, place, node, list(output.shape), _dtype(output)))

    def take(self) -> Operations | None:
        """What was found since the last step."""
        found, numbers, self.found, self.numbers = self.found, self.numbers, [], []
        if not found:
            return None
        device = numbers[-1].device
        return Operations(found, torch.stack([one.to(device, non_blocking=True) for one in numbers]))


def _numbers(output: torch.Tensor) -> torch.Tensor:
    """[NaN, infinite, largest finite absolute value] of a tensor, on its device."""
    output = output.detach()
    nan, infinite = output.isnan(), output.isinf()
    largest = output.abs().masked_fill(nan | infinite, 0).max()
    return torch.stack([nan.sum().double(), infinite.sum().double(), largest.double()])


def _dtype(output: torch.Tensor) -> str:
    return str(output.dtype).removeprefix("torch.")


def _phase_and_node() -> tuple[str, int]:
    """What is going on, and autograd's number of the operation."""
    current = private(torch._C, "_current_autograd_node")
    node = current() if current is not None else None
    if node is not None:
        return "backward", int(private(node, "_sequence_nr", lambda: -1)())
    if not torch.is_grad_enabled():
        return "no_grad", -1
    # The operation's node was made last.
    number = private(private(torch._C, "_autograd"), "_get_sequence_nr")
    return "forward", int(number()) - 1 if number is not None else -1


def _where(host: bool) -> tuple[int, str]:
    """The identity of the innermost module whose forward is running, and the script's innermost line."""
    module, place = 0, ""
    for frame in _frames():
        name = frame.f_globals.get("__name__", "").partition(".")[0]
        if name == "gradaudit":
            continue
        if not place and name != "torch":
            file = f"{os.path.basename(frame.f_code.co_filename)}:" if host else "line "
            place = f"{file}{frame.f_lineno} in {frame.f_code.co_name}"
        if not module and frame.f_code.co_name.startswith("forward"):
            owner = variables_of(frame).get("self")
            module = id(owner) if isinstance(owner, nn.Module) else 0
        if module and place:
            break
    return module, place


def _frames() -> Iterator[Any]:
    frame: Any = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_open(trace: Trace) -> bool:
    """Whether the mode is among those of this thread."""
    at, count = private(torch._C, "_get_dispatch_stack_at"), private(torch._C, "_len_torch_dispatch_stack")
    return at is not None and count is not None and any(at(place) is trace for place in range(count()))


def put_below(trace: Trace) -> bool:
    """Open the mode below all others of this thread; whether it could be.

    The script's own modes are opened and closed around us: whatever it closes is the topmost one.
    """
    parts = _stack()
    if parts is None:
        return False
    pop, push, count = parts
    above = [pop() for _ in range(count())]
    push(trace)
    for mode in reversed(above):
        push(mode)
    return True


def take_away(trace: Trace) -> None:
    """Close the mode, wherever it is."""
    parts = _stack()
    if parts is not None:
        pop, push, count = parts
        for mode in reversed([pop() for _ in range(count())]):
            if mode is not trace:
                push(mode)


def _stack() -> tuple[Any, Any, Any] | None:
    """What takes from, puts on and counts this thread's stack of dispatch modes."""
    pop, push = private(_dispatch, "_pop_mode"), private(_dispatch, "_push_mode")
    count = private(torch._C, "_len_torch_dispatch_stack")
    return None if pop is None or push is None or count is None else (pop, push, count)
