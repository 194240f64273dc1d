"""Sick runs of the rules that read the autograd graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import EmbeddingFacts, EmbeddingLookFacts, LossFacts, OptimizerFacts, ViewFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.graphs import ONE, graph_of, looks
from tests.diagnosers.runs import TEN, falling


def of_graph(path: Path, **changes: Any) -> Run:
    """A run whose loss falls, with this graph."""
    return build_run(path, loss=falling(), facts=TEN, graph=graph_of(**changes))


def detached(path: Path, count: int = 13, owner: int = 1, **changes: Any) -> Run:
    """A second term of the objective reaches the last four tensors alone, which belong to another optimizer."""
    tensors = [msgspec.structs.replace(t, optimizer=0 if t.id < 4 else owner) for t in linear_stack()]
    known = {"function": "mse_loss", "tensors": [4, 5, 6, 7], "used": 0, "beside": count, **changes}
    first = msgspec.structs.replace(ONE, tensors=[0, 1, 2, 3])
    term = msgspec.structs.replace(ONE, id=1, **known)
    optimizers = [OptimizerFacts(id=0, optimizer_class="Adam", label="optimizer_g"),
                  OptimizerFacts(id=1, optimizer_class="Adam", label="optimizer_d")]  # fmt: skip
    return build_run(
        path, loss=falling(), facts=TEN, tensors=tensors, optimizers=optimizers, graph=graph_of(terms=[first, term])
    )


def growing(path: Path, each: int = 4, back: float = 1.0, seconds: Any = 0.01) -> Run:
    """The graph of each step has `each` nodes more than that of the step before."""
    graph = graph_of(looks=looks(lambda step: 40 + each * step, lambda step: int(back * step)))
    return build_run(path, loss=falling(), facts=TEN, graph=graph, steps={"seconds": seconds})


def mixed_up(path: Path, **changes: Any) -> Run:
    """A view reads positions of a convolution's output as classes."""
    view = {"before": [2, 3, 20, 20], "after": [800, 3], "source": "convolution", "fault": "channels", **changes}
    return of_graph(path, views=[ViewFacts(**{"before_loss": True, **view})])


def squared(path: Path, given: tuple[int, ...] = (100,), size: int = 100) -> Run:
    """A mean that a script writes out is over the pairs of its examples."""
    term = msgspec.structs.replace(ONE, function="mean", broadcast=[list(given), [size, size]])
    return build_run(path, loss=falling(), facts=LossFacts(id=0, function="logged"), graph=graph_of(terms=[term]))


def embedded(values: Any, last: int = 199, compared: str = "cosine") -> EmbeddingFacts:
    """Embeddings of the first layer with these spreads, at even steps of a run of 200."""
    steps = numpy.linspace(0, last, len(values)).astype(int).tolist()
    looks = [
        EmbeddingLookFacts(step=step, directions=value, std=value, rms=1.0)
        for step, value in zip(steps, values.tolist(), strict=True)
    ]
    return EmbeddingFacts(tensor=0, compared=compared, rows=64, looks=looks)


def of_embeddings(path: Path, embeddings: list[EmbeddingFacts]) -> Run:
    """A run of 200 steps whose objective compares these."""
    return build_run(path, loss=falling(), graph=graph_of(embeddings=embeddings))


def collapsing(path: Path, end: float = 0.03, **changes: Any) -> Run:
    """The spread falls from 0.8 to `end`."""
    return of_embeddings(path, [embedded(numpy.geomspace(0.8, end, 40), **changes)])


GRAPHS: dict[str, dict[str, tuple[Callable[[Path], Run], float]]] = {
    "detached_loss": {"": (detached, 0), "looks": (detached, 1e9)},
    "growing_graph": {
        "": (growing, 0),
        "steps": (growing, 1e9),
        "share": (lambda path: growing(path, back=0.4), 0.1),
        "growth": (growing, 1e9),
    },
    "scrambled_axes": {"": (mixed_up, 0)},
    "representation_collapse": {
        "": (collapsing, 0),
        "spread": (collapsing, 0.01),
        "fallen": (collapsing, 0.01),
        "shrunk": (lambda path: collapsing(path, compared="distance"), 0.01),
    },
}
