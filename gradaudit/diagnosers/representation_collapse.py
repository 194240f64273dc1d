"""The representation collapses: the embeddings of all examples become one.

## What it looks for

Embeddings that the objective compares by angle, by distance or by product: the outputs of a linear layer, read off the
autograd graph behind the loss. At the first steps, and then at steps that grow by a tenth, a sample of those of one
batch is taken. Scaled to length 1, their standard deviation over the batch times the root of their width is about 1
where they point anywhere and 0 where all point one way. It is a warning where that ends below `spread`, and below
`fallen` of what it was in the first steps. Where distances are compared, which have a length, the standard deviation
itself ends below `shrunk` of its start.

## Why it matters

What is one and the same for all inputs says nothing of any. The loss does not show it: where two views of an example
should agree, a constant is the best answer, and a triplet loss stays at its margin.

## What to try

Stop the gradient on one side, with `detach()` on the targets, as SimSiam and BYOL do, and keep the predictor. Or add
what pushes examples apart: negatives, or a term on variance and covariance as VICReg. With hardest triplets lower the
learning rate, warm it up, or begin with semi-hard ones. Keep the normalisation layers of the projection.

## When it is wrong

Batches of examples that are alike, sorted by class for one, have embeddings that are alike. So have those that a cosine
holds against targets that are alike themselves. The length of an error against data compares no embeddings. Only
embeddings that a linear layer gives, at least eight wide and eight in a batch, are seen: not those of a compiled model,
nor of a convolution. A collapse to fewer dimensions than there are is not looked for.
"""

from collections.abc import Iterator

import msgspec

from gradaudit.chart_data import Lines, Mark
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.reduce import plain
from gradaudit.evidence.words.wording import in_code, number, percent, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.signals.activations.embedding_spread import EmbeddingSpread, embedding_spreads
from gradaudit.signals.order_statistics import Floats, Integers


class Limits(msgspec.Struct, frozen=True):
    """From where on embeddings are one."""

    # Five healthy trainings of the field suite end above 0.7, after 0.22 at the least; the collapsed one at 0.03.
    spread: float = 0.1  # an angle of 6 degrees between an embedding and the mean
    fallen: float = 0.25  # of the first steps: a network may begin with outputs that hardly differ, and spread them
    shrunk: float = 0.05  # of the first steps, of distances; those that train grow to the size of the margin


class Collapsed(Judged, frozen=True):
    """All embeddings of a layer are nearly one."""

    layer: str  # empty of one that is in no optimizer
    compared: str  # cosine, distance, product
    rows: int
    start: float
    end: float
    steps: Integers  # [looks]
    values: Floats  # [looks]
    span: Span


class Spread(Judged, frozen=True):
    """They differ."""

    layers: int
    least: float  # end of the layer with the least spread


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps",),
    explains=(
        "no_learning",
        "no_signal",
        "vanishing_gradient",
        "premature_plateau",
        "noise_module",
        "layer_imbalance",
        "learning_rate_too_low",
    ),
)
def representation_collapse(run: Run, limits: Limits) -> Iterator[Collapsed | Spread | NotApplicable | Skipped]:
    """Compare the spread of embeddings at the end with the first steps."""
    seen = embedding_spreads(run)
    if not seen:
        yield NotApplicable(reason="no objective compares embeddings that a linear layer gives")
        return
    known = [one for one in seen if isinstance(one, EmbeddingSpread)]
    if not known:
        yield Skipped(
            reason="embeddings were not looked at in the last tenth of the run", enable="record the run to its end"
        )
        return
    collapsed = [one for one in known if _is_one(one, limits)]
    if collapsed:
        worst = min(collapsed, key=lambda one: one.end)
        yield Collapsed(
            worst.layer, worst.compared, worst.rows, worst.start, worst.end, worst.steps, worst.values,
            Span(first=int(worst.steps[0]), last=int(worst.steps[-1])),
        )  # fmt: skip
    else:
        yield Spread(len(known), min(one.end for one in known))


def _is_one(one: EmbeddingSpread, limits: Limits) -> bool:
    if one.compared == "distance":
        return one.end < limits.shrunk * one.start
    return one.end < min(limits.spread, limits.fallen * one.start)


@representation_collapse.tell
def _spread(found: Spread) -> Clean:
    return Clean(measured=f"a spread of {number(found.least)} over the batch, in {plural(found.layers, 'layer')}")


@representation_collapse.tell
def _collapsed(found: Collapsed, limits: Limits) -> Finding:
    share = found.end / found.start if found.start else 0.0
    by_length = found.compared == "distance"
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH,
        title="Representation collapse",
        headline=f"The embeddings of all examples are nearly one: their spread ends at {percent(share)} of its start",
        explanation=_explanation(found, by_length),
        tensors=[f"{found.layer}.weight"] if found.layer else [],
        span=found.span,
        evidence=[_chart(found, limits, by_length)],
        actions=[
            Action(
                text="Stop the gradient on one side of the comparison, or add what pushes examples apart",
                code="loss = -F.cosine_similarity(prediction, target.detach()).mean()",
            ),
            Action(text="With hardest triplets divide the learning rate by 10, or begin with semi-hard ones"),
        ],
        measures=_measures(found, limits, by_length),
    )


def _explanation(found: Collapsed, by_length: bool) -> str:
    where = f"Layer {in_code(found.layer)} gives" if found.layer else "A layer gives"
    what = (
        "Their standard deviation over the batch, as a part of that of the first steps,"
        if by_length
        else "Scaled to length 1, their standard deviation over the batch times the root of their width"
    )
    return (
        f"{where} the embeddings that the objective compares by {found.compared}, {plural(found.rows, 'example')} in a "
        f"batch. {what} is {number(found.start)} in the first steps and {number(found.end)} in the last. A constant "
        "makes such a loss small, or leaves it at its margin, and says nothing of the input."
    )


def _measures(found: Collapsed, limits: Limits, by_length: bool) -> list[Measure]:
    share = Measure(
        quantity="spread at the end / at the start",
        value=found.end / found.start if found.start else 0.0,
        comparison="<",
        threshold=limits.shrunk if by_length else limits.fallen,
        option="shrunk" if by_length else "fallen",
    )
    if by_length:
        return [share]
    end = Measure(
        quantity="spread over the batch", value=found.end, comparison="<", threshold=limits.spread, option="spread"
    )
    return [end, share]


def _chart(found: Collapsed, limits: Limits, by_length: bool) -> Lines:
    limit = limits.shrunk if by_length else limits.spread
    return Lines(
        title="Spread of the embeddings over a batch",
        caption="1 is the spread of the first steps."
        if by_length
        else "About 1 where embeddings point anywhere, 0 where all point one way.",
        x_label="step",
        y_label="spread",
        series=[plain(found.layer or "embeddings", found.steps, found.values)],
        marks=[Mark(label="limit", y=limit, role="reference")],
        log=True,
    )
