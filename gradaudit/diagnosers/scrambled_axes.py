"""Axes are mixed up: a view or a softmax works along another axis than the one that is meant.

## What it looks for

The autograd graph behind the objective. A view or reshape, without a permute, of what a convolution, recurrent or
linear layer gave: (N, C, H, W) read as (N H W, C), axes that change places by a view, heads split off the axis of
time. It is critical where classes are read from positions or examples from one another, and a warning elsewhere. And
softmaxes: over the examples of a batch, before a loss, which is critical; over an axis of length one, whose result is
always one, which is critical before a loss and else a warning; and attention whose weights are normalised along one
axis and summed along another, a warning. A recurrent layer that runs along the shuffled examples of a batch of a
`DataLoader`, and not along the ids of each, is critical, and so is fused attention whose number of queries follows the
size of the batch, over two sizes or more.

## Why it matters

All shapes fit, no error comes, and the loss even falls: but each number is taken for that of another class, position
or example. A softmax over an axis of length one gives 1 whatever the weights, and no gradient.

## What to try

Move axes with `permute` or `transpose`, and let `view` only merge or split neighbours. Give each softmax the axis of
what competes: classes, or keys. Make recurrent layers with `batch_first=True` for batches that hold examples first.

## When it is wrong

A view that only merges or splits neighbouring axes is never reported, nor one of a padded matrix, as the shift of
relative positions. Weights that are normalised a second time along the axis of the sum, as in slot attention, are
meant. Attention over a sequence of one token is not reported. With torch 2.4, which does not tell the shapes of
operations, and inside compiled regions nothing is seen.
"""

from collections.abc import Iterator

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.axes import MEANINGS, permuted, shape, shapes_table
from gradaudit.evidence.words.wording import count, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import SoftmaxFacts, TermFacts, ViewFacts
from gradaudit.signals.data.sources import training_sources
from gradaudit.signals.layers.attention import over_the_batch, single_softmaxes, sums_elsewhere

_LAYER = ("Addmm", "Mm", "Add", "Convolution")  # what gives (N, C), with the examples first
_CHOICES = ("NllLoss", "Gather", "Index", "Log", "Neg", "Mean", "Squeeze", "BinaryCrossEntropy", "MseLoss", "KlDiv")
_RANDOM = ("RandomSampler", "DistributedSampler", "WeightedRandomSampler")


class MixedView(Judged, frozen=True):
    """A view reads the numbers of one axis as those of another."""

    view: ViewFacts
    span: Span


class BatchSoftmax(Judged, frozen=True):
    """A softmax before a loss is over the examples of a batch."""

    kind: str
    sizes: tuple[int, ...]
    span: Span


class SingleSoftmax(Judged, frozen=True):
    """A softmax is over an axis of length one."""

    softmax: SoftmaxFacts
    span: Span


class OtherAxis(Judged, frozen=True):
    """Attention is normalised along one axis and summed along another."""

    softmax: SoftmaxFacts
    summed: int
    span: Span


class ScannedExamples(Judged, frozen=True):
    """A recurrent layer runs along the examples of a batch."""

    sizes: tuple[int, ...]  # of the embedding that it is given
    span: Span


class AcrossExamples(Judged, frozen=True):
    """Attention runs over the examples of a batch."""

    sizes: tuple[int, ...]  # taken for examples, heads, queries, features
    batches: tuple[int, ...]  # sizes of batches that all were the number of queries
    span: Span


class AxesInOrder(Judged, frozen=True):
    """No softmax and no view is odd."""

    softmaxes: int
    looks: int


_Found = MixedView | BatchSoftmax | SingleSoftmax | OtherAxis | ScannedExamples | AcrossExamples


@diagnoser(
    worst=Severity.CRITICAL,
    needs=("steps",),
    explains=(
        "no_learning",
        "no_signal",
        "overfitting",
        "premature_plateau",
        "learning_rate_too_low",
        "vanishing_gradient",
        "frozen_parameter",
        "noise_module",
        "initial_loss_mismatch",
        "layer_imbalance",
        "class_imbalance",
    ),
)
def scrambled_axes(run: Run) -> Iterator[_Found | AxesInOrder | NotApplicable | Skipped]:
    """Look at the axes of softmaxes and views."""
    graph = run.meta.graph
    if not graph.looks:
        yield Skipped(reason="the graph behind the objective was not recorded", enable="record again with this version")
        return
    if not graph.shapes:
        yield Skipped(
            reason="this version of torch does not tell the shapes of operations",
            enable="record with torch 2.5 or newer",
        )
        return
    span = Span(first=graph.looks[0].step, last=max(look.step for look in graph.looks))
    mixed = [view for view in graph.views if view.fault != "scan"]
    views = {
        (view.fault, view.source, len(view.before)): view for view in sorted(mixed, key=lambda view: view.before_loss)
    }
    found: list[_Found] = [MixedView(view, span) for view in views.values()]
    found += [one for one in (_over_the_batch(term, span) for term in graph.terms) if one is not None][:1]
    found += [SingleSoftmax(one, span) for one in single_softmaxes(graph.softmaxes)]
    found += _along_the_examples(run, span)[:1]
    over = over_the_batch(graph.attentions)
    found += [AcrossExamples(*over, span)] if over is not None else []
    other = next((one for one in graph.softmaxes if sums_elsewhere(one)), None)
    if other is not None and other.summed is not None:
        found.append(OtherAxis(other, other.summed, span))
    yield from found
    if not found:
        yield AxesInOrder(len(graph.softmaxes), len(graph.looks))


def _along_the_examples(run: Run, span: Span) -> list[ScannedExamples]:
    """Recurrent layers that run along as many steps as a batch has examples, which were drawn at random."""
    sizes = {one.batch_size for one in training_sources(run) if one.sampler in _RANDOM and one.batch_size > 1}
    return [
        ScannedExamples(tuple(view.before), span)
        for view in run.meta.graph.views
        if view.fault == "scan" and view.before[0] in sizes and view.before[1] % view.before[0]
    ]


def _over_the_batch(term: TermFacts, span: Span) -> BatchSoftmax | None:
    """A softmax along the first axis of (N, C), as a layer gave it, with only choices between it and the loss."""
    for one, before in zip(term.operations, term.operations[1:], strict=False):
        if one.kind in ("Softmax", "LogSoftmax"):
            sizes = tuple(one.sizes or ())
            odd = one.axis == 0 and len(sizes) == 2 and sizes[0] != sizes[1] and min(sizes) > 1
            kind = "softmax" if one.kind == "Softmax" else "log_softmax"
            return BatchSoftmax(kind, sizes, span) if odd and before.kind in _LAYER else None
        if one.kind not in _CHOICES:
            return None
    return None


@scrambled_axes.tell
def _clean(found: AxesInOrder) -> Clean:
    return Clean(
        measured=f"0 odd axes in {plural(found.softmaxes, 'kind')} of softmax and the views of "
        f"{plural(found.looks, 'graph')}"
    )


@scrambled_axes.tell
def _mixed(found: MixedView) -> Finding:
    view = found.view
    before, after = shape(view.before), shape(view.after)
    title, meaning = MEANINGS.get(view.fault, MEANINGS["axes"])
    critical = view.fault == "axes" or (view.fault == "channels" and view.before_loss)
    return Finding(
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title=title,
        headline=f"A view reads {before}, of a {view.source} layer, as {after} without a permute",
        explanation=f"{meaning} A view keeps the order of numbers in memory and cannot move an axis. All shapes fit: "
        "nothing complains.",
        span=found.span,
        evidence=[shapes_table([("before the view", view.before), ("after it", view.after)])],
        actions=[
            Action(text=f"Permute in front of the view that makes {after}", code=permuted(view)),
            Action(text="Compare one row of the result with the row that it should be, once, on a small input"),
        ],
        measures=[Measure(quantity="graphs with it", value=view.count, comparison=">=", threshold=1, unit="count")],
    )


@scrambled_axes.tell
def _batch(found: BatchSoftmax) -> Finding:
    size, classes = found.sizes
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Softmax over the batch",
        headline=f"The {found.kind} before the loss is over the {count(size)} examples of a batch, not the "
        f"{count(classes)} classes",
        explanation=f"It is given {shape(found.sizes)} and normalises along axis 0, so the examples of a batch "
        "compete for each class, and the prediction of one depends on the others.",
        span=found.span,
        evidence=[shapes_table([("input of the softmax", found.sizes)])],
        actions=[
            Action(text=f"Give the softmax the axis of the {count(classes)} classes", code=f"{found.kind}(dim=1)")
        ],
        measures=[
            Measure(quantity="examples that a softmax is over", value=size, comparison=">", threshold=1, unit="count")
        ],
    )


@scrambled_axes.tell
def _scanned(found: ScannedExamples) -> Finding:
    size, length = found.sizes[:2]
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Recurrence over the batch",
        headline=f"The recurrent layer runs along the {count(size)} examples of a batch, not the {count(length)} "
        "ids of each",
        explanation=f"It is given {shape(found.sizes)}, as the embedding of a batch of {count(size)} shuffled "
        "examples, and takes the first axis for time. What it remembers comes from other examples.",
        span=found.span,
        evidence=[shapes_table([("input of the recurrent layer", found.sizes)])],
        actions=[
            Action(
                text=f"Make the recurrent layer with batch_first=True, so that it runs along the {count(length)} ids",
                code="self.rnn = torch.nn.LSTM(..., batch_first=True)",
            ),
            Action(text="Then take the last output of each example with output[:, -1]"),
        ],
        measures=[
            Measure(quantity="steps of it that are examples", value=size, comparison=">", threshold=1, unit="count"),
        ],
    )


@scrambled_axes.tell
def _single_softmax(found: SingleSoftmax) -> Finding:
    one = found.softmax
    result = "0" if one.kind == "log_softmax" else "1"
    return Finding(
        severity=Severity.CRITICAL if one.last else Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Softmax over a single number",
        headline=f"A {one.kind} is over axis {one.axis} of {shape(one.sizes)}, of length 1: it always gives {result}",
        explanation=f"Whatever the weights, the result is {result} and its gradient is zero"
        + (": the loss says nothing to the model." if one.last else ": what is in front of it learns nothing."),
        span=found.span,
        evidence=[shapes_table([("input of the softmax", one.sizes)])],
        actions=[
            Action(
                text="Use a sigmoid for a single output, with the loss that has it built in",
                code="loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.squeeze(1), target)",
            )
            if one.last
            else Action(text="Give the softmax the axis of what competes", code="weights = scores.softmax(dim=1)"),
        ],
        measures=[Measure(quantity="length of the axis", value=1, comparison="<", threshold=2, unit="count")],
    )


@scrambled_axes.tell
def _other_axis(found: OtherAxis) -> Finding:
    one = found.softmax
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Attention over the wrong axis",
        headline=f"Attention weights {shape(one.sizes)} are normalised along axis {one.axis} and summed along axis "
        f"{found.summed}",
        explanation="The weights that a query gives to its keys do not sum to 1; those that a key is given by all "
        "queries do. With a causal mask each position then depends on later ones.",
        span=found.span,
        evidence=[shapes_table([("attention weights", one.sizes)])],
        actions=[
            Action(
                text=f"Normalise along the axis that is summed, {found.summed}",
                code=f"weights = scores.softmax(dim={found.summed - len(one.sizes)})",
            )
        ],
        measures=[
            Measure(quantity="graphs with such weights", value=one.count, comparison=">=", threshold=1, unit="count"),
        ],
    )  # fmt: skip


@scrambled_axes.tell
def _batch_first(found: AcrossExamples) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        confidence=Confidence.CERTAIN,
        title="Attention over the batch",
        headline=f"Attention takes the {count(found.sizes[2])} examples of a batch for the positions of a sequence",
        explanation=f"In {plural(len(found.batches), 'size')} of batches the number of queries is that of examples, "
        f"and what it takes for examples are {count(found.sizes[0])} throughout: no position sees its own sequence.",
        span=found.span,
        evidence=[shapes_table([("result, as (examples, heads, queries, features)", found.sizes)])],
        actions=[
            Action(
                text=f"Pass batch_first=True to the layer, for the {count(found.sizes[2])} examples come first",
                code="torch.nn.TransformerEncoderLayer(width, heads, batch_first=True)",
            )
        ],
        measures=[
            Measure(quantity="sizes of batches that are the number of queries", value=len(found.batches),
                    comparison=">=", threshold=2, unit="count"),
        ],
    )  # fmt: skip
