"""The autograd graph of a healthy classifier, as a run notes it."""

from collections.abc import Callable
from typing import Any

from gradaudit.schema import (
    EmbeddingFacts,
    EmbeddingLookFacts,
    GraphFacts,
    GraphLookFacts,
    OperationFacts,
    SoftmaxFacts,
    TermFacts,
)

AT = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128)
ATTENTION = SoftmaxFacts(sizes=[32, 5, 5], axis=2, scores=True, summed=2)
ONE = TermFacts(
    id=0,
    function="nll_loss",
    tensors=list(range(8)),
    optimizers=[0],
    used=len(AT),
    operations=[
        OperationFacts(kind="NllLoss", sizes=[]),
        OperationFacts(kind="LogSoftmax", sizes=[32, 10], axis=1),
        OperationFacts(kind="Addmm", sizes=[32, 10]),
    ],
)


def looks(nodes: Callable[[int], int] = lambda step: 40, back: Callable[[int], int] = lambda step: 0) -> Any:
    """The graphs of one optimizer's steps."""
    return [GraphLookFacts(step=step, optimizers=[0], nodes=nodes(step), reaches_back=back(step)) for step in AT]


def graph_of(**changes: Any) -> GraphFacts:
    """The graph of a healthy classifier, but for `changes`."""
    softmaxes = [SoftmaxFacts(kind="log_softmax", sizes=[32, 10], axis=1, last=True, rows=32), ATTENTION]
    known = {"looks": looks(), "terms": [ONE], "softmaxes": softmaxes, "shapes": True}
    return GraphFacts(**{**known, **changes})


HEALTHY_GRAPH = graph_of()
APART = graph_of(
    embeddings=[
        EmbeddingFacts(
            compared="cosine",
            rows=64,
            looks=[EmbeddingLookFacts(step=step, directions=0.8, std=0.5, rms=0.6) for step in range(0, 200, 10)],
        )
    ]
)
