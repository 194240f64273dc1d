"""Follows modules that have the shapes of trained ones and are in no optimizer: do their weights ever move?"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from gradaudit.record.internals import version_of
from gradaudit.record.measure.checksums import checksum
from gradaudit.record.measure.transfer import to_host
from gradaudit.record.observe.batch_norm import Filling, awaiting, plain_average
from gradaudit.record.observe.frame_locals import variable_names
from gradaudit.record.observe.model_state.looks import Look
from gradaudit.record.observe.model_state.twins import TooManyError, Twin, owned_by_optimizers, twins
from gradaudit.record.observe.model_state.usage import Usage
from gradaudit.record.observe.naming import label_of, own, registered, walk
from gradaudit.record.observe.optimizers import known
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.schema import CopyFacts

AGAIN = 32  # the step at which copies made since the first one are looked for
MOST_LOOKS = 64
_MOST_TENSORS, _MOST_ELEMENTS = 16, 4096  # that a distance is taken over
_MOST_BYTES = 2**30  # of weights that are summed at a look; of larger models the sample speaks


@dataclass(eq=False)
class _Copy:
    module: weakref.ref[nn.Module]
    trained: weakref.ref[nn.Module]
    facts: CopyFacts
    versions: list[int]
    looks: list[Look] = field(default_factory=list)  # see _compared
    due: int = 0  # the step from which on all weights are summed
    start: Look | None = None  # [2]: see _start
    usage: Usage = field(default_factory=Usage)
    filling: Filling | None = None  # of one with running statistics
    plain_average: bool = False
    writes: int = 0
    has_grad: bool = False
    gone: bool = False  # an optimizer took it


class Copies:
    """The copies of one recording."""

    def __init__(self) -> None:
        self.found: list[_Copy] = []
        self.unknown = ""

    def search(self, table: TensorTable, step: int) -> None:
        """Look for copies that are not known yet."""
        if table.sharded():
            self.unknown = "the weights are sharded"
            return
        try:
            seen = twins(owned_by_optimizers(table) | _held(), everywhere=step == AGAIN)
        except TooManyError:
            self.unknown = "there are too many modules"
            return
        before = {id(copy.module()) for copy in self.found}
        for twin in seen:
            if id(twin.module) not in before:
                # What was found earlier may be a part of it, whose own trained module was not known yet.
                inner = {id(part) for part in twin.module.modules()}
                self.found = [copy for copy in self.found if id(copy.module()) not in inner]
                self.found.append(_begun(twin, table, step))

    def look(self, table: TensorTable, step: int, *, last: bool = False) -> None:
        """Compare each copy with what it is a copy of: a sample, at steps that double and at the `last` look all."""
        owned = owned_by_optimizers(table) if self.found else set()
        for copy in self.found:
            module, trained = copy.module(), copy.trained()
            if module is None or trained is None or copy.gone:
                continue
            mine, theirs = _weights(module), _weights(trained)
            if any(id(tensor) in owned for tensor in mine):
                copy.gone = True
                continue
            if [each.shape for each in mine] != [each.shape for each in theirs]:
                continue
            versions = [version_of(tensor) for tensor in mine]
            if len(versions) == len(copy.versions):
                copy.writes += max((new - old for new, old in zip(versions, copy.versions, strict=True)), default=0)
            copy.versions = versions
            copy.has_grad = copy.has_grad or any(tensor.grad is not None for tensor in mine)
            with torch.no_grad():
                copy.looks.append(Look.of(step, _compared(mine, theirs, whole=step >= copy.due or last)))
            if step >= copy.due:
                copy.due = max(1, 2 * step)
            if len(copy.looks) > MOST_LOOKS:
                _thin(copy.looks)

    def facts(self) -> list[CopyFacts]:
        """What goes into run.json; asked by the writer's thread."""
        return [_told(copy) for copy in list(self.found) if copy.looks and not copy.gone]

    def wanted(self) -> Sequence[tuple[nn.Module, nn.Module, Usage]]:
        """What is to be watched for calls: each copy, what it is a copy of, and where calls are noted."""
        pairs = [(copy.module(), copy.trained(), copy.usage) for copy in self.found if not copy.gone]
        return [(one, two, usage) for one, two, usage in pairs if one is not None and two is not None]


def _held() -> set[int]:
    """The identities of what optimizers hold that have not stepped yet: an actor's, at the critic's first step."""
    return {id(one) for each in known() for group in each.param_groups for one in group["params"]}


def _begun(twin: Twin, table: TensorTable, step: int) -> _Copy:
    weights = _weights(twin.module)
    facts = CopyFacts(
        name=_name(twin.module, table),
        of=_name(twin.trained, table),
        same_model=twin.same_model,
        tensors=len(weights),
        elements=sum(tensor.numel() for tensor in weights),
        first=step,
    )
    versions = [version_of(tensor) for tensor in weights]
    copy = _Copy(weakref.ref(twin.module), weakref.ref(twin.trained), facts, versions)
    with torch.no_grad():
        copy.start = Look.of(step, _start(weights))
        copy.filling = awaiting(twin.module, twin.trained)
        copy.plain_average = plain_average(twin.module, registered())
    return copy


def _name(module: nn.Module, table: TensorTable) -> str:
    """What the script calls the module, or the model that holds it."""
    called: str = variable_names([module]).get(id(module), "")
    number = table.numbers_of_modules().get(id(module))
    label = table.modules[number].name if number is not None else ""
    return called or label or label_of(module)


def _weights(module: nn.Module) -> list[torch.Tensor]:
    return [tensor for _, part in walk(module) for tensor in own(part).values() if tensor is not None]


def _compared(mine: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], *, whole: bool) -> torch.Tensor:
    """[4] int64: checksums of samples of both, the bits of their distance and of the trained weights' norm.

    [6] where the `whole` weights are summed, too: their checksums follow.
    """
    chosen = range(0, len(mine), max(1, -(-len(mine) // _MOST_TENSORS)))
    pairs = [(_sample(mine[index]), _sample(theirs[index])) for index in chosen]
    device = pairs[0][0].device
    gaps = torch.stack([(one.to(two.device) - two).norm().to(device) for one, two in pairs]).norm()
    norms = torch.stack([two.norm().to(device) for _, two in pairs]).norm()
    fits = sum(tensor.numel() * tensor.element_size() for tensor in mine) <= _MOST_BYTES
    summed: list[Sequence[torch.Tensor]] = [[one for one, _ in pairs], [two for _, two in pairs]]
    sums = [checksum(tensors) for tensors in (*summed, *((mine, theirs) if whole and fits else ()))]
    values = [value.to(device) for value in sums if value is not None]
    numbers = [number.double().view(torch.int64) for number in (gaps, norms)]
    return torch.stack([*values[:2], *numbers, *values[2:]])


def _sample(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().reshape(-1) if tensor.is_contiguous() else tensor.detach().flatten()
    return flat[:: max(1, flat.numel() // _MOST_ELEMENTS)].float()


def _start(weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """[2]: what tells an initialisation from trained weights, NaN where there is nothing to tell it by.

    The largest weight times the root of its inputs, over all matrices: torch's own initialisation keeps to 1. And the
    largest range within a vector, bias or norm: many initialisations make each of them constant.
    """
    device = weights[0].device
    floating = [weight.detach() for weight in weights if weight.numel() and weight.is_floating_point()]
    bounds = [
        weight.abs().amax().float() * (weight.numel() / weight.shape[0]) ** 0.5
        for weight in floating
        if weight.dim() >= 2
    ]
    spreads = [(weight.amax() - weight.amin()).float() for weight in floating if weight.dim() == 1]
    nothing = torch.full((), float("nan"), device=device)
    largest = [torch.stack([each.to(device) for each in of]).amax() if of else nothing for of in (bounds, spreads)]
    return torch.stack(largest)


def _thin(looks: list[Look]) -> None:
    """Leave out every other look of the first half, but the first two."""
    half = len(looks) // 2
    del looks[2:half:2]


def _filled(filling: Filling | None) -> dict[str, Any]:
    if filling is None or filling.last is None:
        return {"statistics_filled": filling is not None and filling.filled}
    first, last = to_host([filling.first, filling.last])
    return {
        "evaluated": filling.evaluated,
        "writes_evaluated": filling.writes,
        "statistics_filled": filling.filled,
        "statistics_moved": not torch.equal(first, last),
    }


def _told(copy: _Copy) -> CopyFacts:
    import msgspec

    rows = [(look.step, look.numbers()) for look in list(copy.looks)]
    distances, equal = [], 0
    for step, row in rows:
        gap, norm = (float(value) for value in row[2:4].view("float64"))
        distances.append([float(step), gap / norm if norm else None])
        equal += _equal(row)
    start = copy.start.numbers().tolist() if copy.start is not None else []
    bound, spread = (value if value == value else None for value in start) if start else (None, None)
    return msgspec.structs.replace(
        copy.facts,
        last=rows[-1][0], looks=len(rows), equal=equal, equal_at_first=_equal(rows[0][1]),
        changed=_changes(rows, 0), writes=copy.writes, distances=distances, bound=bound, spread=spread,
        trained_moved=_changes(rows, 1) > 0,
        has_grad=copy.has_grad, plain_average=copy.plain_average, **_filled(copy.filling), **copy.usage.facts(),
    )  # fmt: skip


def _equal(row: Any) -> bool:
    return bool(row[0] == row[1]) and (len(row) == 4 or bool(row[4] == row[5]))


def _changes(rows: Sequence[tuple[int, Any]], side: int) -> int:
    """At how many looks the weights of one side were others than before, as far as each look tells."""
    changed, before, since = 0, None, 0
    for index, (_, row) in enumerate(rows):
        sampled = index > 0 and bool(row[side] != rows[index - 1][1][side])
        whole = row[4 + side] if len(row) > 4 else None
        # What no sample shows counts once, where it shows in all weights.
        hidden = whole is not None and before is not None and bool(whole != before) and not (sampled or since)
        changed += sampled or hidden
        since += sampled
        if whole is not None:
            before, since = whole, 0
    return changed
