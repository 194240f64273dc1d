"""Learning rate schedulers: their numbers, and their calls against the steps of optimizers."""

import functools
import itertools
import math
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch.optim import lr_scheduler

from gradaudit.record.internals import private
from gradaudit.record.settings import in_utf8
from gradaudit.schema import SchedulerFacts

_MOST = 64  # schedulers; a script may make one for each of its models
_MOST_METRICS = 128  # of a scheduler; then every other one is left out
_MOST_NUMBERS, _LONGEST = 48, 64  # numbers of a scheduler, and entries of a list


class Metrics:
    """What ReduceLROnPlateau was given, call by call; of many calls every second, fourth, ..."""

    def __init__(self) -> None:
        self.kept: list[list[float | None]] = []
        self._calls, self._every = 0, 1

    def add(self, steps: int, metric: Any) -> None:
        """Keep the metric of a call, after `steps` steps of the optimizer."""
        if self._calls % self._every == 0:
            self.kept.append([float(steps), _number(metric)])
        self._calls += 1
        if len(self.kept) >= _MOST_METRICS:
            self.kept, self._every = self.kept[::2], 2 * self._every


@dataclass(eq=False)
class _Calls:
    """What is known of one scheduler."""

    id: int
    name: str
    optimizer: Callable[[], Any]  # a weak reference
    numbers: dict[str, float | None]
    lists: dict[str, list[float]]
    nested: bool = False
    parts: list[int] = field(default_factory=list)
    calls: int = 0
    first_call: int = -1
    last_call: int = -1
    steps_before: int = 0
    repeated: int = 0
    idle: int = 0
    idle_last: int = 0
    after_one: int = 0
    after_more: int = 0
    longest: int = 0
    last_steps: int = 0  # of its own optimizer at the last call
    steps: int = 0  # of its own optimizer, as last seen
    number: int = -1
    shares: bool = False
    mode: str = ""
    metrics: Metrics = field(default_factory=Metrics)


class Schedulers:
    """The schedulers of the script. Used under the recording's lock."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Any, _Calls] = weakref.WeakKeyDictionary()
        self._all: list[_Calls] = []
        self._making = 0

    def making(self) -> None:
        """A scheduler is being made: what it calls meanwhile is not the script's."""
        self._making += 1

    def made(self, scheduler: Any) -> None:
        """It is made; None where that failed, for a script that goes on without it."""
        self._making = max(0, self._making - 1)
        if scheduler is not None:
            self._entry(scheduler)

    def on_step(self, scheduler: Any, nested: bool, own: int, total: int) -> None:
        """`step` is called, after `own` steps of its optimizer and `total` of all; `nested` in that of another one."""
        if self._making:
            return
        calls = self._entry(scheduler)
        if calls is None:
            return
        calls.nested |= nested
        if nested:
            return
        calls.calls += 1
        if calls.first_call < 0:
            calls.first_call, calls.steps_before = total, own
        elif total == calls.last_call:
            calls.repeated += 1
        elif own == calls.last_steps:
            calls.idle += 1
            calls.idle_last += 1
        else:
            between, calls.idle_last = own - calls.last_steps, 0
            calls.after_one += between == 1
            calls.after_more += between > 1
            calls.longest = max(calls.longest, between)
        calls.last_call, calls.last_steps = total, own

    def on_metric(self, scheduler: Any, nested: bool, own: int, metric: Any) -> None:
        """`step` of a scheduler that may wait for a metric is called with this one."""
        calls = self._known.get(scheduler)
        if calls is None or nested or self._making or not isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            return
        calls.mode = "max" if scheduler.mode == "max" else "min"
        calls.metrics.add(own, metric)

    def _entry(self, scheduler: Any) -> _Calls | None:
        calls = self._known.get(scheduler)
        if calls is None:
            if len(self._all) >= _MOST:
                return None
            numbers, lists = numbers_of(scheduler)
            optimizer = getattr(scheduler, "optimizer", None)
            calls = _Calls(
                len(self._all),
                in_utf8(type(scheduler).__name__),
                weakref.ref(optimizer) if optimizer is not None else lambda: None,
                numbers,
                lists,
            )
            self._known[scheduler] = calls
            self._all.append(calls)
            for part in private(scheduler, "_schedulers", ()):
                inner = self._entry(part)
                if inner is not None:
                    inner.nested = True
                    calls.parts.append(inner.id)
        return calls

    def facts(
        self, steps_of: Callable[[Any], int], numbers: Mapping[Any, int], stepping: list[Any]
    ) -> list[SchedulerFacts]:
        """What goes into run.json; `stepping` are the optimizers that stepped and exist."""
        groups = {id(group): one for one in stepping for group in one.param_groups}
        found = []
        for calls in list(self._all):
            optimizer = calls.optimizer()
            if optimizer is not None:
                calls.steps, calls.number = steps_of(optimizer), numbers.get(optimizer, -1)
                others = [groups.get(id(group)) for group in optimizer.param_groups]
                calls.shares = any(one is not None and one is not optimizer for one in others)
            found.append(
                SchedulerFacts(
                    id=calls.id,
                    scheduler_class=calls.name,
                    optimizer=calls.number,
                    nested=calls.nested,
                    parts=list(calls.parts),
                    numbers=calls.numbers,
                    lists=calls.lists,
                    calls=calls.calls,
                    first_call=calls.first_call,
                    last_call=calls.last_call,
                    steps=max(calls.steps, calls.last_steps),
                    steps_before=calls.steps_before,
                    repeated=calls.repeated,
                    idle=calls.idle,
                    idle_last=calls.idle_last,
                    after_one=calls.after_one,
                    after_more=calls.after_more,
                    longest=calls.longest,
                    mode=calls.mode,
                    metrics=list(calls.metrics.kept),
                    shares_groups=calls.shares,
                )
            )
        return found


def numbers_of(scheduler: Any) -> tuple[dict[str, float | None], dict[str, list[float]]]:
    """The numbers and the lists of numbers of a scheduler, by name."""
    numbers: dict[str, float | None] = {}
    lists: dict[str, list[float]] = {}
    held: dict[str, Any] = dict(vars(scheduler))
    given = held.pop("lr_lambdas", ())
    held["milestones"] = held.get("milestones", private(scheduler, "_milestones"))
    functions = given if isinstance(given, list | tuple) else ()
    for name, value in itertools.chain(held.items(), *map(_used_by, functions)):
        if name.startswith("_") or len(numbers) + len(lists) >= _MOST_NUMBERS:
            continue
        if isinstance(value, bool | int | float):
            numbers.setdefault(in_utf8(name), _plain(value))
        elif isinstance(value, list | tuple | Mapping):
            entries = list(itertools.islice(value, _LONGEST))
            if entries and all(isinstance(entry, int | float) and math.isfinite(entry) for entry in entries):
                lists.setdefault(in_utf8(name), [float(entry) for entry in entries])
    return numbers, lists


def _number(metric: Any) -> float | None:
    """A metric that can be read without waiting for a device."""
    if isinstance(metric, torch.Tensor):
        if metric.device.type != "cpu" or metric.numel() != 1 or metric.is_complex():
            return None
        metric = metric.item()
    return _plain(float(metric)) if isinstance(metric, Real) else None


def _plain(value: float) -> float | None:
    """A number that JSON can hold; Python's integers have no end."""
    if isinstance(value, int) and abs(value) > 1 << 62:
        return None
    return float(value) if math.isfinite(value) else None


def _used_by(function: Any) -> Iterator[tuple[str, Any]]:
    """The numbers that a function of LambdaLR was given, encloses or takes from its module, by name."""
    while isinstance(function, functools.partial):
        yield from function.keywords.items()
        function = function.func
    if not isinstance(function, types.FunctionType):
        function = getattr(function, "__func__", function)
    if not isinstance(function, types.FunctionType):
        yield from getattr(function, "__dict__", {}).items()
        return
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not bound yet
            continue
    for name in code.co_names:
        if name in function.__globals__:
            yield name, function.__globals__[name]
