"""The observer of batches: which source each is of, whether it trains or evaluates, and when it is looked at."""

import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from gradaudit.record.measure.transfer import to_host
from gradaudit.record.observe.batches.alignment import causal_by_graph, causal_by_modules, first_position, kept
from gradaudit.record.observe.batches.attention import Attention, Embedded
from gradaudit.record.observe.batches.attention import look as look_at_attention
from gradaudit.record.observe.batches.contents import sequences_of, tensors_of
from gradaudit.record.observe.batches.hashes import Hasher
from gradaudit.record.observe.batches.sources import Pass, Source, due_after, facts_of, look, shared_indices
from gradaudit.record.observe.loss.labels import BINARY, CLASSIFICATION, REGRESSION
from gradaudit.schema.loaders import AttendedFacts, LoaderFacts

if TYPE_CHECKING:
    from gradaudit.record.observe.tensors import TensorTable

BATCHES = "batches"  # the observer

_MOST_SOURCES = 32


@dataclass
class _Here:
    """What a thread is at."""

    going: Pass | None = None  # the pass that yielded its last batch
    ids: list[torch.Tensor] = field(default_factory=list)  # copies, of the embedding calls of the coming backward
    losses: int = 0  # training losses before the coming backward
    given: list[torch.Tensor] = field(default_factory=list)  # the sequences of whole numbers of its last batch
    embedded: Embedded = field(default_factory=Embedded)  # where those ids went


class Batches:
    """What is known so far. Used under the recording's lock, but for `wants`, `due` and `over`."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.sources: list[Source] = []
        # By identity of the iterator, which is asked for at every batch: a dictionary of weak keys takes longer.
        self._passes: dict[int, tuple[weakref.ref[Any], Pass]] = {}
        self._known: dict[tuple[int, bool], Source] = {}  # by data set, and whether gradients were enabled
        self._datasets: dict[int, tuple[int, Any]] = {}  # by identity: the number, and a weak reference
        self._own: Source | None = None  # batches that the script makes itself
        self._local = threading.local()
        self._hasher: Hasher | None = None
        self.turned = 0  # how often another pass than the last one yielded a batch
        self._trained: Source | None = None  # of the last backward
        self.watching = True  # the losses before the coming backward are looked at

    def _here(self) -> _Here:
        here: _Here | None = getattr(self._local, "here", None)
        if here is None:
            here = self._local.here = _Here()
        return here

    def begin(self, loader: Any, iterator: Any) -> None:
        """A loader is gone over with `iterator`, one of torch's own."""
        if not self.enabled:
            return
        grad = torch.is_grad_enabled()
        dataset = self._number_of(getattr(loader, "dataset", None))
        source = self._known.get((dataset, grad))
        if source is None:
            if len(self.sources) >= _MOST_SOURCES:
                return
            source = self._add(dataset, facts_of(loader))
            self._known[dataset, grad] = source
            data = getattr(loader, "dataset", None)
            if getattr(type(data), "__weakrefoffset__", 0):
                source.data = weakref.ref(data)
        source.begin(self.sources)
        passes, key = self._passes, id(iterator)
        ended = weakref.ref(iterator, lambda _: passes.pop(key, None))
        passes[key] = ended, Pass(source, source.facts.workers, grad)

    def _going(self, iterator: Any) -> Pass | None:
        """The pass of an iterator."""
        known = self._passes.get(id(iterator))
        return known[1] if known is not None else None

    def _number_of(self, dataset: Any) -> int:
        """The number of a data set, the same for the same object."""
        known = self._datasets.get(id(dataset))
        if known is not None and (known[1] is None or known[1]() is dataset):
            return known[0]
        weak = weakref.ref(dataset) if getattr(type(dataset), "__weakrefoffset__", 0) else None
        number = len(self._datasets)
        self._datasets[id(dataset)] = (number, weak)
        return number

    def _add(self, dataset: int, facts: LoaderFacts) -> Source:
        source = Source(len(self.sources), dataset, facts)
        self.sources.append(source)
        return source

    def due(self, iterator: Any) -> bool:
        """Count the batch that an iterator yields; whether it is looked at."""
        going = self._going(iterator)
        if going is None:
            return False
        here = self._here()
        if here.going is not going:
            here.going = going
            self.turned += 1
        return going.next_is_due()

    def over(self, iterator: Any) -> None:
        """An iterator has no further batch."""
        here = self._here()
        if here.going is not None and here.going is self._going(iterator):
            here.going = None

    def look(self, iterator: Any, batch: Any) -> None:
        """Look at a batch that is due."""
        going = self._going(iterator)
        if going is None:
            return
        if self._hasher is None:
            self._hasher = Hasher()
        tensors = tensors_of(batch)
        look(going.source, going, tensors, self._hasher)
        self._here().given = sequences_of(tensors) if going.grad else []

    def wants(self) -> bool:
        """Whether the ids of an embedding call are looked at."""
        return self.watching and self.enabled and torch.is_grad_enabled()

    def wants_attention(self) -> bool:
        """Whether a call of attention is looked at: it is over the ids of an embedding call of this thread."""
        return self.wants() and bool(self._here().ids)

    def note_ids(self, ids: Any, result: Any) -> None:
        """An embedding was called with these ids."""
        here = self._here()
        if kept(here.ids, ids):
            here.embedded.note(len(here.ids) - 1, result)

    def note_attention(self, call: Attention | None) -> None:
        """Attention is about to be called."""
        here = self._here()
        source = self._source(here)
        if call is not None and source is not None:
            look_at_attention(call, here.embedded, here.ids, source.attended)

    def _source(self, here: _Here) -> Source | None:
        """What the batch that this thread trains on is of."""
        if here.going is not None and here.going.grad:
            return here.going.source
        if self._own is None and len(self.sources) < _MOST_SOURCES:
            self._own = self._add(-1, LoaderFacts(id=0, loader=False))
        return self._own

    def on_loss(self, name: str, result: torch.Tensor, call: dict[str, Any], table: "TensorTable") -> None:
        """A loss function was called."""
        if not self.watching or not self.enabled or not result.requires_grad:
            return
        here = self._here()
        if here.ids and name in (*CLASSIFICATION, *BINARY, *REGRESSION):
            self._look_at_last_step(here, call["input"], call["target"], table)
        if name not in CLASSIFICATION:
            return
        source = self._source(here)
        prediction, target = call["input"], call["target"]
        if source is None or type(target) is not torch.Tensor or target.is_floating_point():
            return
        ignored = call.get("ignore_index")
        if prediction.ndim == 2 and _per_example(source, here, target):
            source.labels.add(int(prediction.shape[1]), target, ignored)
        source.padding.look_at_targets(here.given, first_position(prediction), target, ignored)
        if here.ids:
            with torch.no_grad():
                source.alignments.compare(here.losses, here.ids, prediction, target, ignored)
            if source.alignments.counts and source.in_place is None:
                source.in_place = here.embedded.in_place(prediction)
            roots = table.living_roots()  # known from the first step on
            if source.alignments.causal is None and source.alignments.counts and roots:
                by_graph = result.grad_fn is not None and causal_by_graph(result.grad_fn)
                source.alignments.causal = "attention" if by_graph else causal_by_modules(roots)
        here.losses += 1

    def _look_at_last_step(self, here: _Here, prediction: Any, target: Any, table: "TensorTable") -> None:
        source, roots = self._source(here), table.living_roots()
        if source is None or type(prediction) is not torch.Tensor or type(target) is not torch.Tensor or not roots:
            return
        if prediction.ndim and target.ndim and len(target) == len(prediction):
            source.last_step.look(here.embedded, here.ids, prediction, roots)

    def on_backward(self) -> None:
        """A backward is about to run: the batch that was yielded last trains."""
        if not self.enabled:
            return
        here = getattr(self._local, "here", None) or self._here()
        going = here.going
        source = going.source if going is not None and going.grad else self._own or self._source(here)
        if here.ids or here.losses or here.given:
            here.ids, here.losses, here.embedded, here.given = [], 0, Embedded(), []
        if source is None:
            return
        if source.trained >= source.turn:
            source.turn = due_after(source.trained)
        source.trained += 1
        self._trained = source
        self.watching = source.trained >= source.turn

    def left(self) -> int:
        """How many further backwards of the same source leave nothing to look at."""
        source = self._trained
        return 1 << 30 if source is None or not self.enabled else max(0, source.turn - source.trained - 1)

    def passed(self, count: int) -> None:
        """So many backwards of the same source were made."""
        if self._trained is not None and self.enabled:
            self._trained.trained += count

    def facts(self) -> list[LoaderFacts]:
        """What goes into run.json; called by the writer's thread."""
        sources = [source for source in list(self.sources) if source.trained or source.batches]
        training = [source for source in sources if source.trained]
        return [_facts(source, training) for source in sources]


def _per_example(source: Source, here: _Here, target: torch.Tensor) -> bool:
    """Whether the labels are one for each example of a batch."""
    size = source.facts.batch_size
    if size:
        return target.ndim == 1 and len(target) <= size
    return target.ndim == 1 and (not here.ids or len(here.ids[0]) == len(target))


def _facts(source: Source, training: list[Source]) -> LoaderFacts:
    facts = msgspec.structs.replace(
        source.facts,
        id=source.number,
        role=source.role,
        dataset=source.dataset,
        batches=source.batches,
        passes=source.passes,
        after=list(source.after),
        looked=source.looked,
        inputs=[moments.facts() for moments in list(source.inputs.values())],
        alignments=source.alignments.facts(to_host(dict(source.alignments.counts))),
        causal=source.alignments.causal or "",
        attended=_attended(source),
        padding=source.padding.facts(),
        echo=source.echoes.facts(),
        last_step=source.last_step.facts(to_host(source.last_step.numbers)),
        hashed=source.hashed,
        repeated=source.repeated,
        rich=bool(source.rich),
        orders=source.orders,
        same_order=source.same_order,
        rounds=source.rounds,
        same_batches=source.same_batches,
        **source.labels.facts(),
    )
    if source.role == "training":
        return facts
    return msgspec.structs.replace(facts, **_shared(source, training))


def _attended(source: Source) -> list[AttendedFacts]:
    numbers = to_host({number: one.numbers for number, one in list(source.attended.items())})
    in_place = source.in_place or set()
    return [source.attended[number].facts(number, each, number in in_place) for number, each in numbers.items()]


def _shared(source: Source, training: list[Source]) -> dict[str, int]:
    """Which training source an evaluation source shares most with, and how much."""
    best: dict[str, int] = {}
    # Each fold of a cross-validation trains on what another one is evaluated on.
    just_before = [other for other in training if other.number in source.after]
    for other in just_before or training:
        if other.dataset == source.dataset or not other.facts.loader:
            continue
        datasets = [each.data() if each.data is not None else None for each in (source, other)]
        found = {
            "compared_with": other.number,
            "shared": len(source.hashes.copy() & other.hashes.copy()),
            "shared_indices": shared_indices(*datasets),
        }
        if not best or (found["shared_indices"], found["shared"]) > (best["shared_indices"], best["shared"]):
            best = found
    return best
