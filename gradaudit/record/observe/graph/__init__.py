"""What the autograd graph behind the objective shows: its terms, and the operations before each loss."""

import sys
import weakref
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gradaudit.record.observe.graph.axes import Softmax, View, softmax_at, view_at
from gradaudit.record.observe.graph.before_loss import class_view, last_softmax, operations_before
from gradaudit.record.observe.graph.constants import Constants
from gradaudit.record.observe.graph.embeddings import Embeddings
from gradaudit.record.observe.graph.kept import Look, Moment, Term, new_term, softmax_facts, view_facts
from gradaudit.record.observe.graph.outside import Outside
from gradaudit.record.observe.graph.terms import Summand, Terms, terms_of
from gradaudit.record.observe.graph.walk import Walk, number_of, walk_from
from gradaudit.record.observe.loss.calls import LossCall
from gradaudit.record.observe.loss.hand_written import kind_of
from gradaudit.record.observe.tensors import TensorTable
from gradaudit.schema import AttentionFacts, GraphFacts, TensorFacts

GRAPH = "the graph behind the objective"  # the observer

_EACH = 8  # first steps that are all looked at
_NEIGHBOURS = 3  # steps from each doubled one on: of optimizers that take turns each gets its own
_OF_A_STEP = 8  # backwards of one step
_SIZES = 8  # sizes of batches that are looked at apart
_NODES = 400_000  # walked in all, about 0.8 s; then only steps that double, one look each
_MOST_LOOKS, _MOST_TERMS, _MOST_KINDS = 256, 64, 64


class Graph:
    """What is known so far. Used under the recording's lock."""

    def __init__(self, table: TensorTable) -> None:
        self._table = table
        self.groups, self._outside, self.constants = Terms(), Outside(), Constants()
        self.embeddings = Embeddings()
        self._looks: list[Look] = []
        self._terms: dict[tuple[Any, ...], Term] = {}
        self._softmaxes: dict[tuple[Softmax, bool, int], int] = {}
        self._attentions: dict[tuple[tuple[int, ...], int], int] = {}
        self._views: dict[tuple[View, bool], int] = {}
        self.moments: weakref.WeakKeyDictionary[Any, Moment] = weakref.WeakKeyDictionary()
        # By thread: a backward that was looked at, as its step and the number of its root.
        self._marks: weakref.WeakKeyDictionary[Any, list[tuple[int, int]]] = weakref.WeakKeyDictionary()
        self._sizes: set[int] = set()
        self._step, self._of_step, self._spent = -1, 0, 0
        self._wait = 0  # the step before which none is due
        self._shapes = False
        self._leaf_roots = 0

    def wants(self, step: int, size: int) -> bool:
        """Whether a backward before this step may be looked at: False of nearly all."""
        return step >= self._wait or (size not in self._sizes and len(self._sizes) < _SIZES)

    def due_at(self, step: int, size: int | None = None) -> bool:
        """Whether anything may be looked at before this step, with a batch of this size or any that is known."""
        return step >= self._wait or self.embeddings.wants(step) or (size is not None and self.wants(step, size))

    def look(self, between: Any, roots: Sequence[Any], size: int) -> None:
        """A backward of a thread is about to run from `roots`; its last loss was of a batch of this size, 0 unknown."""
        step = between.shared.after_step + 1
        if self.embeddings.wants(step):
            self.embeddings.look(step, roots)
        if not self.wants(step, size) or not self._due(step, size):
            return
        moment = self.moments.get(between)
        if moment is None or moment.stepped:
            if moment is not None:
                moment.close()
            self.moments[between] = moment = Moment(between.backwards)
        moment.backwards = between.backwards
        self._name()
        for root in roots:
            if not isinstance(root, torch.Tensor):
                continue
            if root.grad_fn is not None:
                self._root(between, root, step, moment, size)
            elif id(root) not in self._table.identifier:
                self._leaf_roots += 1

    def on_loss(self, between: Any, seen: LossCall, function: str, result: torch.Tensor) -> None:
        """A loss function returned `result` in a thread."""
        if self.wants(between.shared.after_step + 1, seen.batch_size):
            self.constants.on_loss(between, seen.loss, function, result)

    def on_derivative(self, between: Any, given: Sequence[Any]) -> None:
        """The gradients of these were asked for in a thread, without a graph of their own."""
        # Those of parameters are looked at, or weigh the terms.
        if given and not any(isinstance(one, nn.Parameter) or id(one) in self._table.identifier for one in given):
            self.constants.on_derivative(between)

    def _due(self, step: int, size: int) -> bool:
        """Whether a backward before this step is looked at."""
        new = size not in self._sizes and len(self._sizes) < _SIZES
        if not new and step >= _EACH and not any(_doubled(step - ago) for ago in range(_NEIGHBOURS)):
            self._wait = 1 << step.bit_length()  # the next step that doubles
            return False
        if step != self._step:
            self._step, self._of_step = step, 0
        self._of_step += 1
        self._sizes.add(size)
        if self._spent > _NODES and not (_doubled(step) and self._of_step == 1):
            return False
        return self._of_step <= _OF_A_STEP

    def _root(self, between: Any, root: torch.Tensor, step: int, moment: Moment, size: int) -> None:
        node = root.grad_fn
        whole = walk_from(node)
        self._spent += whole.nodes
        self._shapes |= whole.shapes
        self._note_look(between, node, step, whole, moment)
        scale = between.scale
        found = terms_of(node, scale is not None)
        kept: list[Term] = []
        for each in found.terms:
            reached = whole if len(found.terms) == 1 else walk_from(each.node, axes=False)
            self._spent += reached.nodes if len(found.terms) > 1 else 0
            self.groups.add(reached.leaves if reached.complete else None)
            kept += self._term(each, step, reached, frozenset(whole.leaves), size)
        self.constants.on_root(between, step, root, found, [id(one) for one in kept], scale)
        for softmax, count in whole.softmaxes.items():
            _count(self._softmaxes, (softmax, False, 0), count)
        for shape, count in whole.attentions.items():
            _count(self._attentions, (shape, size), count)
        for view, count in whole.views.items():
            _count(self._views, (view, False), count)
        moment.roots.append(kept)

    def _note_look(self, between: Any, node: Any, step: int, whole: Walk, moment: Moment) -> None:
        if len(self._looks) >= _MOST_LOOKS:
            return
        number, marks = number_of(node), self._marks.setdefault(between, [])
        # The last step that was looked at and whose backward began when the oldest operation was there already.
        since = max((at for at, mark in marks if whole.oldest is not None and mark <= whole.oldest), default=-1)
        behind = [at for at, _ in marks if at > since]
        back = step - min(behind) if behind and whole.oldest is not None else 0
        if number is not None and (not marks or marks[-1][0] != step):
            marks.append((step, number))
            del marks[:-_MOST_LOOKS]
        look = Look(step, whole.nodes, back)
        self._looks.append(look)
        moment.looks.append(look)

    def _term(self, summand: Summand, step: int, reached: Walk, root: frozenset[int], size: int) -> list[Term]:
        operations = operations_before(summand.node)
        self._note_before(operations)
        # A loss of its own and the same one in a sum are two terms: an optimizer may follow one of them alone.
        key = (tuple(one.kind for one in operations), frozenset(reached.leaves), root)
        if key not in self._terms:
            if len(self._terms) >= _MOST_TERMS:
                return []
            self._terms[key] = new_term(step, operations, reached)
        term = self._terms[key]
        term.seen_again(step, operations, summand.factor, size)
        return [term]

    def _note_before(self, operations: list[Any]) -> None:
        """Mark the softmax and the view that a loss takes its numbers from."""
        ends = last_softmax(operations)
        softmax = softmax_at(ends[0], kind_of(ends[0].name())) if ends is not None else None
        if softmax is not None and ends is not None:
            _count(self._softmaxes, (softmax, True, ends[1]), 1)
        viewed = class_view(operations)
        view = view_at(viewed) if viewed is not None else None
        if view is not None:
            _count(self._views, (view, True), 1)

    def stepped(self, between: Any, optimizer: int) -> None:
        """An optimizer makes a step in a thread."""
        if not self.moments:
            return
        moment, plan = self.moments.get(between), self._table.parameter_sets.get(optimizer)
        if moment is None or plan is None:
            return
        if moment.backwards != between.backwards:
            # Further backwards came, which were not looked at.
            del self.moments[between]
            moment.close()
            return
        self._name()
        # One made after another one over the same parameters owns none of them in the table.
        made = [one for one, number in list(self._table.numbers.items()) if number == optimizer]
        moment.step(optimizer, (id(one) for each in made for group in each.param_groups for one in group["params"]))
        beside = [term for root in moment.roots for term in root if id(term) in moment.hit and not term.opaque]
        unknown = (leaf for term in beside for leaf in term.leaves.values() if not isinstance(leaf, int))
        self._outside.look(between.shared.after_step + 1, unknown, self._table.identifier)

    def _name(self) -> None:
        """Find out which tensors were reached, now that the script still has them."""
        self.groups.name(self._table.identifier)
        self.embeddings.name(self._table.identifier)
        for term in self._terms.values():
            term.name(self._table.identifier)

    def facts(self) -> GraphFacts:
        """What goes into run.json."""
        known = self._table.identifier
        self.embeddings.name(known)
        # Asked for between two steps of one moment, by another thread: what is not over is not closed.
        coming = Counter(one for moment in list(self.moments.values()) for one in moment.outcomes())
        return GraphFacts(
            looks=[look.facts() for look in list(self._looks)],
            terms=[term.facts(number, known, coming) for number, term in enumerate(list(self._terms.values()))],
            constants=self.constants.facts({id(term): place for place, term in enumerate(list(self._terms.values()))}),
            softmaxes=[softmax_facts(*key, count) for key, count in list(self._softmaxes.items())],
            attentions=[
                AttentionFacts(sizes=list(shape), batch=size, count=count)
                for (shape, size), count in list(self._attentions.items())
            ],
            views=[view_facts(*key, count) for key, count in list(self._views.items())],
            leaf_roots=self._leaf_roots,
            outside=self._outside.facts(),
            embeddings=self.embeddings.facts(),
            cut_checkpoint=_cut_checkpoint(),
            shapes=self._shapes,
        )

    def told(self, facts: Sequence[TensorFacts]) -> list[TensorFacts]:
        """The facts of the tensors with the terms that reach each."""
        return self.groups.told(facts, self._table.identifier)


def _cut_checkpoint() -> bool:
    """Whether torch warned of a reentrant checkpoint: what it warned of once, it remembers in the module."""
    warned = vars(sys.modules.get("torch.utils.checkpoint", object)).get("__warningregistry__")
    texts = [key[0] for key in list(warned) if isinstance(key, tuple)] if isinstance(warned, dict) else []
    return any("inputs have requires_grad=True" in str(text) for text in texts)


def _doubled(step: int) -> bool:
    return step >= 0 and not step & (step - 1)


def _count(counts: dict[Any, int], key: Any, more: int) -> None:
    if key in counts or len(counts) < _MOST_KINDS:
        counts[key] = counts.get(key, 0) + more
