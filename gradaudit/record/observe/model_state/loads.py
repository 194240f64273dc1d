"""Checkpoints of which `load_state_dict` loads a part: how many keys fit, and how many would under another name."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from gradaudit.record.internals import version_of
from gradaudit.record.measure.sharding import class_name
from gradaudit.record.observe.model_state.twins import owned_by_optimizers
from gradaudit.record.observe.naming import children_of, label_of, own, unwrap
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.record.settings import in_utf8
from gradaudit.schema import LoadFacts

_MOST = 32
_MOST_KEYS = 8192  # of a checkpoint, and of what is missing
_SAMPLED, _TRIED = 3, 24  # keys that others are found by, and pairs of prefixes
_MOST_ENTRIES = 16  # of a checkpoint that may hold the real one

_Shapes = Mapping[str, tuple[int, ...] | None]  # of tensors by their names; None unknown


@dataclass(frozen=True)
class _Renaming:
    """How keys of a checkpoint would fit."""

    prefix: str = ""
    instead: str = ""
    inside: str = ""
    names: Sequence[str] = ()  # of the tensors that they fit


@dataclass(eq=False)
class _Load:
    module: weakref.ref[nn.Module]
    facts: LoadFacts
    states: dict[str, tuple[int, int]] = field(default_factory=dict)  # identity and version of each such tensor
    looked: bool = False  # whether a step was made since
    known: bool = False  # whether the module was seen to be trained


class Loads:
    """The loads of one recording. Used under the recording's lock."""

    def __init__(self) -> None:
        self.calls = 0
        self.fresh = False  # whether there is one that no step has followed
        self._loads: list[_Load] = []

    def on_load(self, module: nn.Module, checkpoint: Any, told: Any) -> None:
        """Look at what was told of a call that is over: where all fits, there is nothing to look at."""
        self.calls += 1
        lost, missing = _named(told, "unexpected_keys"), _named(told, "missing_keys")
        if not lost or not missing or not isinstance(checkpoint, Mapping) or len(self._loads) >= _MOST:
            return
        free = {name: _shape(_tensor(module, name)) for name in missing[:_MOST_KEYS]}
        unloaded = set(lost)
        left = {str(key): _shape(value) for key, value in _entries(checkpoint) if key in unloaded}
        matched = sum(key not in unloaded for key in checkpoint)
        found = _best(checkpoint, left, free)
        if matched and not found.names:
            return
        facts = LoadFacts(
            name=in_utf8(label_of(module)),
            module_class=in_utf8(class_name(unwrap(module))),
            keys=len(checkpoint),
            matched=matched,
            missing=len(missing),
            renamed=len(found.names),
            prefix=in_utf8(found.prefix),
            instead=in_utf8(found.instead),
            inside=in_utf8(found.inside),
        )
        if any(one.module() is module and msgspec.structs.replace(one.facts, step=-1) == facts for one in self._loads):
            return
        load = _Load(weakref.ref(module), facts)
        for name in found.names or missing[:_MOST_KEYS]:
            state = _state(_tensor(module, name))
            if state is not None:
                load.states[name] = state
        self._loads.append(load)
        self.fresh = True

    def on_step(self, step: int) -> None:
        """Step number `step` of all is about to be made: were the tensors written to after the load?"""
        if not self.fresh:
            return
        self.fresh = False
        for load in self._loads:
            module = load.module()
            if load.looked or module is None:
                continue
            load.looked = True
            now = {name: _state(_tensor(module, name)) for name in load.states}
            written = sum(now[name] != state for name, state in load.states.items())
            load.facts = msgspec.structs.replace(load.facts, step=step, written=written)

    def look(self, table: TensorTable) -> None:
        """Which of the modules are trained by now?"""
        waiting = [(load, module) for load in self._loads if not load.known and (module := load.module()) is not None]
        if not waiting:
            return
        roots, owned = table.living_roots(), owned_by_optimizers(table)
        inside = {id(part) for root in roots for part in root.modules()}
        for load, module in waiting:
            held = any(part is root for root in roots for part in module.modules())
            if load.looked and (held or id(module) in inside):
                load.known = True
                tensors = [_tensor(module, name) for name in load.states]
                frozen = sum(id(tensor) not in owned for tensor in tensors if isinstance(tensor, nn.Parameter))
                load.facts = msgspec.structs.replace(load.facts, trained=True, frozen=frozen)

    def facts(self) -> list[LoadFacts]:
        """What goes into run.json."""
        return [load.facts for load in list(self._loads)]


def _named(told: Any, what: str) -> list[str]:
    given = getattr(told, what, None)
    return [str(name) for name in given] if isinstance(given, list | tuple) else []


def _entries(checkpoint: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for number, entry in enumerate(checkpoint.items()):
        if number >= _MOST_KEYS:
            return
        yield entry


def _tensor(module: nn.Module, name: str) -> Any:
    """The parameter or buffer of this name; None where the module has none."""
    *path, last = name.split(".")
    for part in path:
        inner = dict(children_of(module).items()).get(part)  # those of a scripted module have no `get`
        if inner is None:
            return None
        module = inner
    tensor = dict(own(module).items()).get(last)
    return dict(module.named_buffers(recurse=False)).get(last) if tensor is None else tensor


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, torch.Tensor) and not is_lazy(value) else None


def _state(tensor: Any) -> tuple[int, int] | None:
    if not isinstance(tensor, torch.Tensor) or tensor.is_inference():
        return None
    return id(tensor), version_of(tensor)


def _best(checkpoint: Mapping[Any, Any], left: _Shapes, free: _Shapes) -> _Renaming:
    """The renaming by which most keys fit, of the checkpoint or of an entry that holds the real one."""
    inner = [(str(key), value) for key, value in _entries(checkpoint) if isinstance(value, Mapping)][:_MOST_ENTRIES]
    found = [_renaming(left, free, "")]
    for key, value in inner:
        shapes = {str(name): _shape(tensor) for name, tensor in _entries(value)}
        found.append(_renaming(shapes, free, key))
    return max(found, key=lambda one: len(one.names))


def _renaming(left: _Shapes, free: _Shapes, inside: str) -> _Renaming:
    """The two prefixes by which most keys fit, told by those that have the last names of what is missing."""
    left = {key: shape for key, shape in left.items() if shape is not None}
    keys = list(left)
    pairs: dict[tuple[str, str], None] = {("", ""): None} if inside else {}
    by_last: dict[str, list[str]] = {}
    for name in free:
        by_last.setdefault(name.rpartition(".")[2], []).append(name)
    for key in keys[:: max(1, -(-len(keys) // _SAMPLED))]:
        alike = [name for name in by_last.get(key.rpartition(".")[2], []) if free[name] == left[key]]
        ends = [_prefixes(key, name) for name in alike]
        # What has the longest end in common comes first.
        pairs |= dict.fromkeys(sorted(ends, key=lambda pair: len(pair[0]) + len(pair[1]))[:_TRIED])
    best = _Renaming(inside=inside)
    for prefix, instead in pairs:
        names = [
            name
            for key, shape in left.items()
            if key.startswith(prefix) and (name := instead + key[len(prefix) :]) in free and free[name] == shape
        ]
        if len(names) > len(best.names):
            best = _Renaming(prefix, instead, inside, names)
    return best


def _prefixes(key: str, name: str) -> tuple[str, str]:
    """What is left of both without the end that they have in common."""
    ours, theirs = key.split("."), name.split(".")
    common = 0
    while common < min(len(ours), len(theirs)) and ours[-1 - common] == theirs[-1 - common]:
        common += 1
    cut = [".".join(each[: len(each) - common]) for each in (ours, theirs)]
    return tuple(f"{one}." if one else "" for one in cut)  # type: ignore[return-value]
