"""Where batches come from: a data set gone over by DataLoaders, and what was seen of the batches of each."""

import random
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from torch.utils.data import IterableDataset, SequentialSampler, Subset

from gradaudit.record.observe.batches.alignment import Alignments
from gradaudit.record.observe.batches.attention import Attended
from gradaudit.record.observe.batches.echoes import Echoes
from gradaudit.record.observe.batches.hashes import Hasher, rich
from gradaudit.record.observe.batches.labels import Labels
from gradaudit.record.observe.batches.last_step import LastStep
from gradaudit.record.observe.batches.moments import Moments
from gradaudit.record.observe.batches.padding import Padding
from gradaudit.record.observe.loaders import batches_of
from gradaudit.schema.loaders import LoaderFacts

MOST_HASHED = 4096  # examples of a source
_MOST_BATCHES = 512  # whose examples are hashed
_FIRST_BATCHES = 16  # of a pass, whose examples are its first ones at most
_FIRST_HASHES = 64  # of a pass, whose order is compared with the pass before
_MOST_INPUTS = 16  # floating tensors of a batch
_EARLY = 8  # batches that are all looked at; later ones at distances of an eighth of their number
_MOST_WORKERS = 64
_MOST_INDICES = 2_000_000  # of a Subset


def due_after(number: int) -> int:
    """The next number that is looked at after this one."""
    return number + max(1, number // _EARLY)


@dataclass(eq=False)
class Source:
    """A data set gone over in one grad mode; without a data set, what the script makes itself."""

    number: int
    dataset: int = -1
    facts: LoaderFacts = field(default_factory=lambda: LoaderFacts(id=0))
    data: "weakref.ref[Any] | None" = None  # the data set, where it can be referred to weakly
    trained: int = 0  # backwards that followed its batches
    batches: int = 0
    passes: int = 0
    next: int = 0  # number of the next batch that is looked at
    before: dict[int, int] = field(default_factory=dict)  # by source: its backwards until the last pass over this one
    after: list[int] = field(default_factory=list)  # sources that trained since the pass before, at the last such pass
    turn: int = 0  # of the next backward whose losses are looked at
    looked: int = 0
    inputs: dict[str, Moments] = field(default_factory=dict)
    labels: Labels = field(default_factory=Labels)
    alignments: Alignments = field(default_factory=Alignments)
    padding: Padding = field(default_factory=Padding)
    echoes: Echoes = field(default_factory=Echoes)
    last_step: LastStep = field(default_factory=LastStep)
    attended: dict[int, Attended] = field(default_factory=dict)  # by number of the ids in a step
    in_place: set[int] | None = None  # ids that predictions are made from position by position; None: nobody looked
    hashes: set[int] = field(default_factory=set)
    hashed: int = 0
    repeated: int = 0
    rich: bool | None = None  # it is the examples with many different numbers that are hashed; None: not known yet
    order: tuple[int, ...] = ()  # of the first examples of the pass before
    orders: int = 0
    same_order: int = 0
    rounds: int = 0
    same_batches: int = 0

    def begin(self, sources: "Sequence[Source]") -> None:
        """A pass begins: which of all sources have trained since the last one."""
        trained = {one.number: one.trained for one in sources if one.trained}
        after = [number for number, count in trained.items() if count > self.before.get(number, 0)]
        self.before, self.after = trained, after or self.after
        self.passes += 1

    @property
    def wants_hashes(self) -> bool:
        """Whether further examples are hashed."""
        return self.hashed < MOST_HASHED and self.passes == 1 and self.batches <= _MOST_BATCHES

    @property
    def role(self) -> str:
        """What it is used for."""
        return "training" if self.trained else "evaluation"


@dataclass(eq=False)
class Pass:
    """One pass over a loader, from its iterator's first batch on."""

    source: Source
    workers: int
    grad: bool  # gradients were enabled when it began
    batches: int = 0
    first: list[int] = field(default_factory=list)  # hashes of its first examples
    seen: set[int] = field(default_factory=set)  # hashes of its examples that were counted
    round: list[bytes] = field(default_factory=list)  # hashes of the batches of one round of the workers
    turned: bool = False  # its order was compared

    def next_is_due(self) -> bool:
        """Count a batch; whether it is looked at."""
        source = self.source
        self.batches += 1
        source.batches += 1
        if source.batches >= source.next:
            return True
        return source.wants_hashes or (len(self.first) < _FIRST_HASHES and self.batches <= _FIRST_BATCHES)


def facts_of(loader: Any) -> LoaderFacts:
    """What a loader says of itself."""
    dataset, sampler = getattr(loader, "dataset", None), getattr(loader, "sampler", None)
    batch_sampler = getattr(loader, "batch_sampler", None)
    custom = batch_sampler is not None and type(batch_sampler) is not torch.utils.data.BatchSampler
    _, size = batches_of(loader)
    iterable = isinstance(dataset, IterableDataset)
    return LoaderFacts(
        id=0,
        sampler="" if iterable else type(batch_sampler if custom else sampler).__name__,
        sequential=not custom and type(sampler) is SequentialSampler,
        iterable=iterable,
        workers=min(_MOST_WORKERS, int(getattr(loader, "num_workers", 0) or 0)),
        examples=0 if iterable else length_of(sampler, dataset),
        batch_size=int(size),
        random_states=_random_states(dataset),
        worker_init=getattr(loader, "worker_init_fn", None) is not None,
    )


def length_of(sampler: Any, dataset: Any) -> int:
    """The examples of a data set of torch's own, or of a sampler of torch's own; others' lengths are their code."""
    for each in (dataset, sampler):
        if type(each).__module__.partition(".")[0] == "torch":
            try:
                return len(each)
            except TypeError:
                continue
    return 0


def _random_states(dataset: Any) -> int:
    kinds = (numpy.random.Generator, numpy.random.RandomState, random.Random)
    held = getattr(dataset, "__dict__", None)
    return sum(isinstance(value, kinds) for value in held.values()) if type(held) is dict else 0


def shared_indices(one: Any, training: Any) -> int:
    """How many examples two Subsets of one data set, or a Subset and that, share; -1 where they are not such."""
    if type(one) is not Subset:
        return -1
    first = _indices(one)
    if one.dataset is training:
        return -1 if first is None else len(numpy.unique(first))
    second = _indices(training) if type(training) is Subset and one.dataset is training.dataset else None
    return -1 if first is None or second is None else len(numpy.intersect1d(first, second))


def _indices(subset: Any) -> Any:
    if type(subset.indices) not in (list, tuple, range, numpy.ndarray) or len(subset.indices) > _MOST_INDICES:
        return None
    indices = numpy.asarray(subset.indices)
    return indices if indices.dtype.kind in "iu" else None


def look(source: Source, here: Pass, tensors: dict[str, torch.Tensor], hasher: Hasher) -> None:
    """Look at the tensors of a batch, by their places in it."""
    usable = {name: each for name, each in tensors.items() if each.is_cpu}
    if tensors and not usable:
        return  # what is on a device is not looked at
    if source.batches >= source.next:
        source.next = due_after(source.batches)
        source.looked += 1
        _measure(source, usable)
        if source.trained or here.grad:
            source.padding.look(usable)
            source.echoes.look(usable)
    _hash(source, here, usable, hasher)


def _measure(source: Source, tensors: dict[str, torch.Tensor]) -> None:
    for place, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.ndim or not tensor.numel():
            continue
        known = source.inputs.get(place)
        if known is None:
            if len(source.inputs) >= _MOST_INPUTS:
                continue
            known = Moments(place, str(tensor.dtype).removeprefix("torch."), list(tensor.shape))
            source.inputs[place] = known
        known.add(tensor)


def _hash(source: Source, here: Pass, tensors: dict[str, torch.Tensor], hasher: Hasher) -> None:
    """Hash the examples of a batch by its largest tensor."""
    if not source.wants_hashes and len(here.first) >= _FIRST_HASHES and here.workers < 2:
        return
    sized = [each for each in tensors.values() if each.ndim > 1 and each.numel()]
    largest = max(sized, key=torch.Tensor.numel) if sized else None
    hashes = hasher.of(largest) if largest is not None else None
    if hashes is None or largest is None:
        return
    values = [int(value) for value in hashes]
    if len(here.first) < _FIRST_HASHES:
        here.first += values[: _FIRST_HASHES - len(here.first)]
        if len(here.first) == _FIRST_HASHES:
            end_of_order(here)
    if source.wants_hashes:
        _add(source, values, rich(largest))
    if here.workers >= 2 and here.batches <= 8 * here.workers:
        _compare_workers(source, here, hashes)


def _add(source: Source, values: list[int], different: Any) -> None:
    """Keep the hashes of examples of the first pass."""
    if source.rich is None:
        source.rich = different is not None and bool(different.mean() >= 0.5)
    if source.rich and different is not None:
        values = [value for value, kept in zip(values, different.tolist(), strict=True) if kept]
    for value in values:
        source.repeated += value in source.hashes
        source.hashes.add(value)
    source.hashed += len(values)


def end_of_order(here: Pass) -> None:
    """Compare the order of the examples of a pass with that of the pass before."""
    source, order = here.source, tuple(here.first)
    if here.turned or len(set(order)) < 2:
        return
    here.turned = True
    if source.order and len(source.order) == len(order):
        source.orders += 1
        source.same_order += source.order == order
    source.order = order


def _compare_workers(source: Source, here: Pass, hashes: Any) -> None:
    """Compare the batches of one round: number i is of worker i modulo their number."""
    # Batches of one and the same example say nothing.
    here.round.append(hashes.tobytes() if len(set(hashes.tolist())) > 1 else b"")
    if here.batches % here.workers == 0:
        if len(here.round) == here.workers and all(here.round):
            source.rounds += 1
            source.same_batches += len(set(here.round)) == 1
        here.round.clear()
