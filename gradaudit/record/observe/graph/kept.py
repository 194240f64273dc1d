"""The terms of an objective as they are kept from look to look: none holds a tensor or a part of a graph."""

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch

from gradaudit.record.observe.graph.axes import Softmax, View
from gradaudit.record.observe.graph.before_loss import FUNCTIONS, Operation, stretched_before
from gradaudit.record.observe.graph.terms import Identifiers
from gradaudit.record.observe.graph.walk import Walk
from gradaudit.schema import FactorFacts, GraphLookFacts, OperationFacts, SoftmaxFacts, TermFacts, ViewFacts

Outcome = Literal["used", "beside", "apart", "alone"]

MOST_TENSORS = 10_000  # numbers of tensors kept of one term
_MOST_FACTORS = 8


@dataclass(eq=False)
class Term:
    """One term, and what became of the gradients that it gave."""

    function: str
    first: int
    last: int
    leaves: dict[int, "weakref.ref[torch.Tensor] | int"]  # by identity; of one that the run knows its number
    operations: list[OperationFacts]
    broadcast: list[list[int]] = field(default_factory=list)
    factors: list[FactorFacts] = field(default_factory=list)
    opaque: bool = False
    compiled: bool = False
    optimizers: set[int] = field(default_factory=set)
    used: int = 0
    beside: int = 0
    apart: int = 0
    alone: int = 0

    def seen_again(self, step: int, operations: list[Operation], factor: float | None, batch: int) -> None:
        """It was met in a graph, times `factor`: of a batch of one nothing was stretched."""
        self.last = step
        if len(self.factors) < _MOST_FACTORS and all(
            (one.factor, one.batch) != (factor, batch) for one in self.factors
        ):
            self.factors = [*self.factors, FactorFacts(step=step, batch=batch, factor=factor)]
        if not self.broadcast and operations:
            self.broadcast = [list(shape) for shape in stretched_before(operations[0].node) or ()]

    def name(self, known: Identifiers) -> None:
        """Find the numbers of the tensors reached, while they exist; `known` are those that the run knows by now.

        A model of a function is gone when the run ends: what is found later is not found at all.
        """
        for key, leaf in list(self.leaves.items()):
            if not isinstance(leaf, int):
                entry, tensor = known.get(key), leaf()
                if entry is not None and tensor is not None and entry[0]() is tensor:
                    self.leaves[key] = entry[1]

    def facts(self, number: int, known: Identifiers, coming: "Counter[tuple[int, Outcome]]") -> TermFacts:
        """What goes into run.json.

        `known` are the tensors that the run knows by now, and `coming` the outcomes of steps that may not be over.
        """
        self.name(known)
        used, beside, apart, alone = (
            getattr(self, outcome) + coming[id(self), outcome] for outcome in ("used", "beside", "apart", "alone")
        )
        leaves = list(self.leaves.values())
        tensors = [leaf for leaf in leaves if isinstance(leaf, int)]
        return TermFacts(
            id=number, function=self.function, first=self.first, last=self.last,
            tensors=sorted(tensors)[:MOST_TENSORS], unknown=len(leaves) - len(tensors), opaque=self.opaque,
            compiled=self.compiled,
            optimizers=sorted(self.optimizers), used=used, beside=beside, apart=apart, alone=alone,
            operations=self.operations, broadcast=self.broadcast, factors=self.factors,
        )  # fmt: skip


def new_term(step: int, operations: list[Operation], reached: Walk) -> Term:
    """A term that is met for the first time."""
    return Term(
        function=FUNCTIONS.get(operations[0].kind, "") if operations else "",
        first=step,
        last=step,
        leaves={key: weakref.ref(leaf) for key, leaf in reached.leaves.items()},
        operations=[
            OperationFacts(kind=one.kind, sizes=None if one.shape is None else list(one.shape), axis=one.axis)
            for one in operations[:16]
        ],
        opaque=reached.opaque or not reached.complete,
        compiled=reached.compiled,
    )


@dataclass(eq=False)
class Look:
    """The graph of one backward."""

    step: int
    nodes: int
    reaches_back: int
    optimizers: set[int] = field(default_factory=set)

    def facts(self) -> GraphLookFacts:
        """What goes into run.json."""
        return GraphLookFacts(
            step=self.step, optimizers=sorted(self.optimizers), nodes=self.nodes, reaches_back=self.reaches_back
        )


@dataclass(eq=False)
class Moment:
    """The backwards of one thread before its next step, as far as they were looked at."""

    backwards: int  # of the thread, when the last of them began
    looks: list[Look] = field(default_factory=list)
    roots: list[list[Term]] = field(default_factory=list)
    hit: set[int] = field(default_factory=set)  # of terms that reach something of an optimizer that stepped
    stepped: set[int] = field(default_factory=set)  # optimizers

    def step(self, optimizer: int, owned: Iterable[int]) -> None:
        """An optimizer steps, which owns the tensors of these identities."""
        self.stepped.add(optimizer)
        for look in self.looks:
            look.optimizers.add(optimizer)
        mine = frozenset(owned)
        for root in self.roots:
            for term in root:
                term.optimizers.add(optimizer)
                if not mine.isdisjoint(term.leaves):
                    self.hit.add(id(term))

    def outcomes(self) -> Iterator[tuple[int, Outcome]]:
        """Of each term, by identity, what comes of it where no further optimizer steps with these gradients."""
        for root in self.roots if self.stepped else ():
            beside = any(id(term) in self.hit for term in root)
            for term in root:
                used = id(term) in self.hit
                yield id(term), "used" if used else "beside" if beside else "apart" if self.hit else "alone"

    def close(self) -> None:
        """No further optimizer steps with these gradients."""
        terms = {id(term): term for root in self.roots for term in root}
        for term, outcome in self.outcomes():
            setattr(terms[term], outcome, getattr(terms[term], outcome) + 1)


def softmax_facts(softmax: Softmax, last: bool, rows: int, count: int) -> SoftmaxFacts:
    """What goes into run.json."""
    kind, shape, axis, scores, summed = softmax
    return SoftmaxFacts(
        kind=kind, sizes=list(shape), axis=axis, scores=scores, summed=summed, last=last, rows=rows, count=count
    )


def view_facts(view: View, before_loss: bool, count: int) -> ViewFacts:
    """What goes into run.json."""
    before, after, source, fault = view
    return ViewFacts(
        before=list(before), after=list(after), source=source, fault=fault, before_loss=before_loss, count=count
    )
