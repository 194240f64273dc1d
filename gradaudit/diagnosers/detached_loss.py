"""A loss term trains nothing: it reaches no parameter of the optimizer that steps next.

## What it looks for

The autograd graph behind each backward of the first steps, and of steps that double: the terms that the objective is
the sum of, the parameters that each term reaches, and the optimizers that step before the next backward. In `looks`
graphs or more a term reaches two tensors or more, and none of theirs. It is critical where the whole objective does,
and where what it reaches belongs to another optimizer, which steps with gradients of its own. It is a warning where
the rest of the objective trains the optimizer's parameters, and what the term reaches is in no optimizer. It is
critical, too, where most objectives are a tensor that no operation with a gradient made, and that was only told to
require one.

A term without any graph leaves no node: only that something was added. It is a warning where what is left of the
objective without its other terms is, at each step, one multiple of a loss that was computed without a graph, or both
are 0. So it is where the script adds a variable without a graph that changes from step to step, and asked for gradients
of an input without `create_graph=True` before.

## Why it matters

The term is computed, printed and weighted, and changes nothing. A generator whose adversarial loss goes through
`fake.detach()` learns from its other terms alone.

## What to try

Remove the `.detach()`, `.data`, `.item()`, `torch.no_grad()` or the round trip through numpy between the network and
this loss. Or give the optimizer the parameters of the network that the loss is made of. A penalty on gradients needs
`create_graph=True` in `torch.autograd.grad`, and a distillation loss the outputs of the student. Never call
`loss.requires_grad_()`: it hides the error that says that the loss has no graph. Compute the loss from the raw outputs,
without a threshold, `argmax` or rounding.

## When it is wrong

A gradient that is stopped on one side of a loss, as in BYOL, SimSiam, VQ or straight-through estimators, is fine: the
other side reaches the network. A term whose gradients another optimizer uses at the same step, or now and then, is
not reported, nor one that goes through a function of the script's own, such as a reentrant checkpoint, which hides
what it reaches. An auxiliary loss on a network that is frozen by leaving it out of the optimizer trains nothing on
purpose. So does a term that is added for the log alone, as an entropy that makes a cross entropy a divergence: it is
reported only if it is added, and comes from a loss function of torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.constant_term import constant_action, constant_explanation, constant_headline
from gradaudit.evidence.words.unchanged import reentrant_checkpoint
from gradaudit.evidence.words.wording import count, names, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import TermFacts
from gradaudit.signals.loss.constant_terms import ConstantTerm, constant_terms

_LONGEST = 24  # characters of a label in a headline


@dataclass(frozen=True)
class Limits:
    """From when on a term counts as detached."""

    looks: float = 2.0  # one graph may be the exception, as a first step that warms something up


class Detached(Judged, frozen=True):
    """A term reaches nothing that the optimizer owns."""

    function: str  # mse_loss, mean, ...; empty of another operation
    whole: bool  # nothing of the objective does
    looks: int  # graphs
    tensors: tuple[str, ...]  # that it reaches
    owned: int  # tensors of the optimizers that step next
    stepping: tuple[str, ...]  # labels of these
    owners: tuple[str, ...]  # of the optimizers that own what it reaches
    modules: tuple[str, ...]  # outermost modules that it reaches
    span: Span
    checkpoint: bool = False  # torch warned that no input of a reentrant checkpoint requires a gradient


class WithoutGraph(Judged, frozen=True):
    """The objective comes from no operation that has a gradient."""

    looks: int  # backwards
    owned: int  # tensors of the optimizers
    span: Span


class Constant(Judged, frozen=True):
    """A term of the objective has no graph at all."""

    term: ConstantTerm


class Attached(Judged, frozen=True):
    """Each term reaches parameters that are stepped."""

    terms: int
    looks: int


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    explains=(
        "frozen_parameter",
        "no_learning",
        "no_signal",
        "premature_plateau",
        "learning_rate_too_low",
        "vanishing_gradient",
        "noise_module",
        "layer_imbalance",
        "divergence",
        "stale_gradient",
    ),
)
def detached_loss(
    run: Run, limits: Limits
) -> Iterator[Detached | WithoutGraph | Constant | Attached | NotApplicable | Skipped]:
    """Look for terms whose gradients nobody uses."""
    graph = run.meta.graph
    if graph.leaf_roots >= limits.looks and graph.leaf_roots > len(graph.looks):
        owned = sum(tensor.optimizer >= 0 for tensor in run.meta.tensors)
        yield WithoutGraph(graph.leaf_roots, owned, Span(first=0, last=int(run.steps["global_step"].iloc[-1])))
        return
    if not graph.looks:
        yield Skipped(reason="the graph behind the objective was not recorded", enable="record again with this version")
        return
    if any(tensor.placements for tensor in run.meta.tensors):
        yield NotApplicable(reason="the parameters are sharded: what a graph reaches is not what an optimizer owns")
        return
    # Of an optimizer over what an earlier one had, the record says that it owns nothing.
    owners = {tensor.optimizer for tensor in run.meta.tensors}
    found = [term for term in graph.terms if _is_detached(term, limits) and owners.issuperset(term.optimizers)]
    whole = next((term for term in found if not term.beside), None)
    yield from (_detached(run, term) for term in found if term.beside or term is whole)
    constant = [Constant(term) for term in constant_terms(graph, limits.looks)]
    yield from constant
    if not found and not constant:
        yield Attached(len(graph.terms), len(graph.looks))


def _is_detached(term: TermFacts, limits: Limits) -> bool:
    known = not term.opaque and not term.unknown and len(term.tensors) > 1
    return known and not term.used and not term.apart and max(term.beside, term.alone) >= limits.looks


def _detached(run: Run, term: TermFacts) -> Detached:
    reached = [tensor for tensor in run.meta.tensors if tensor.id in set(term.tensors)]
    labels = {one.id: one.label or str(one.id) for one in run.meta.optimizers}
    owners = sorted({tensor.optimizer for tensor in reached if tensor.optimizer >= 0})
    modules = list(dict.fromkeys(tensor.name.partition(".")[0] for tensor in reached))
    return Detached(
        function=term.function,
        whole=not term.beside,
        looks=max(term.beside, term.alone),
        tensors=tuple(tensor.name for tensor in reached),
        owned=sum(tensor.optimizer in term.optimizers for tensor in run.meta.tensors),
        stepping=tuple(labels.get(one, str(one)) for one in term.optimizers),
        owners=tuple(labels.get(one, str(one)) for one in owners),
        modules=tuple(modules),
        span=Span(first=max(0, term.first), last=max(0, term.first, term.last)),
        checkpoint=run.meta.graph.cut_checkpoint,
    )


@detached_loss.tell
def _clean(found: Attached) -> Clean:
    return Clean(
        measured=f"0 of {plural(found.terms, 'term')} without a parameter that is stepped, in "
        f"{plural(found.looks, 'graph')}"
    )


@detached_loss.tell
def _finding(found: Detached, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.CRITICAL if found.whole or found.owners else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Detached loss" if found.whole else "Detached loss term",
        headline=_headline(found),
        explanation=_explanation(found),
        tensors=list(found.tensors[:50]),
        span=found.span,
        evidence=[_table(found)],
        actions=[
            *([reentrant_checkpoint()] if found.checkpoint else []),
            Action(
                text=f"Remove the detach() or no_grad() between the network of {_stepping(found)} and this loss, so "
                f"that it reaches its {plural(found.owned, 'tensor')}",
                code=f"score = {_module(found)}(output)  # not {_module(found)}(output.detach())",
            ),
            Action(text="Or give the optimizer the parameters that the loss reaches, if these are the ones to train"),
        ],
        measures=[
            Measure(quantity="tensors of the optimizer that it reaches", value=0, comparison="<", threshold=1,
                    unit="count"),
            Measure(quantity="graphs in which that was so", value=found.looks, comparison=">=", threshold=limits.looks,
                    unit="count", option="looks"),
        ],
    )  # fmt: skip


@detached_loss.tell
def _without_graph(found: WithoutGraph, limits: Limits) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Loss without a graph",
        headline="The loss comes from no operation with a gradient: backward() reaches none of "
        f"{plural(found.owned, 'tensor')}",
        explanation="The loss is a tensor that was told to require a gradient, as by loss.requires_grad_(). That "
        "hides the error that it has no graph. A threshold, argmax, rounding, detach(), no_grad() or .item() between "
        "the outputs and the loss cuts them off, so nothing is trained.",
        span=found.span,
        actions=[
            Action(
                text="Remove requires_grad_() from the loss, and compute it from the raw outputs, without a threshold, "
                "argmax or detach()",
                code="loss = criterion(logits, target)  # not (logits > 0).float()",
            )
        ],
        measures=[
            Measure(quantity="backwards from a tensor without a graph", value=found.looks, comparison=">=",
                    threshold=limits.looks, unit="count", option="looks"),
        ],
    )  # fmt: skip


@detached_loss.tell
def _constant(found: Constant, limits: Limits) -> Finding:
    term = found.term
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH if term.factor is None else Confidence.CERTAIN,
        title="Constant term of the objective",
        headline=constant_headline(term),
        explanation=constant_explanation(term),
        span=Span(first=max(0, term.first), last=max(0, term.first, term.last)),
        actions=[constant_action(term)],
        measures=[
            Measure(quantity="tensors that it reaches", value=0, comparison="<", threshold=1, unit="count"),
            Measure(quantity="backwards in which that was so", value=term.looks, comparison=">=",
                    threshold=limits.looks, unit="count", option="looks"),
        ],
    )  # fmt: skip


def _stepping(found: Detached) -> str:
    words = names(list(found.stepping), 2)
    return "the optimizer" if len(words) > _LONGEST or words.isdigit() or not words else words


def _module(found: Detached) -> str:
    name = found.modules[0] if found.modules else ""
    return name if name.isidentifier() and name not in ("weight", "bias") and found.owners else "network"


def _headline(found: Detached) -> str:
    what = found.function or "term"
    whole = "The objective" if found.whole else f"The {what} in the objective" if found.function else "A term"
    return (
        f"{whole} reaches {plural(len(found.tensors), 'tensor')}, and none of the {count(found.owned)} that "
        f"{_stepping(found)} steps"
    )


def _explanation(found: Detached) -> str:
    owned = f" They belong to {names(list(found.owners), 3)}." if found.owners else " They are in no optimizer."
    rest = (
        "The step that follows is made without a gradient of this objective."
        if found.whole
        else "The other terms reach the parameters that are stepped; this one changes nothing, whatever its weight."
    )
    return (
        f"In {plural(found.looks, 'graph')} behind a backward this term leads to {names(list(found.tensors), 4)}."
        f"{owned} {rest} A detach(), no_grad() or a round trip through numbers cuts it off from the network that it "
        "is meant for."
        + (
            " So does a reentrant checkpoint none of whose inputs requires a gradient, of which torch warned."
            if found.checkpoint
            else ""
        )
    )


def _table(found: Detached) -> Numbers:
    owners = names(list(found.owners), 3) or "in no optimizer"
    rows = [
        [f"{_stepping(found)}, which steps next", f"0 of {count(found.owned)}"],
        [owners, count(len(found.tensors))],
    ]
    return Numbers(
        title="What the term reaches",
        caption="Read off the autograd graph, from the backward's root to the parameters.",
        columns=["optimizer", "tensors that the term reaches"],
        cells=rows,
    )
