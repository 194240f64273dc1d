"""Sick runs of the rules about how weights grow and shrink, what gradients they hear, and swings of the loss."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, falling, flat, parameters


def as_drawn() -> Any:
    """[tensors]: the largest element of each tensor of the stack, as of a uniform one whose norm is 1."""
    return numpy.asarray([(3 / tensor.elements) ** 0.5 for tensor in linear_stack()])


def decayed(path: Path, cosine: float = -0.9, last: float = 0.1, decay: float = 0.5, **changes: Any) -> Run:
    """Updates at a cosine of `cosine` with the weights, whose norm falls to `last` of its start."""
    loss = changes.pop("loss", None)
    loss = falling() if loss is None else loss
    norms = numpy.geomspace(1, last, len(loss))[:, None]
    stats = {"update_weight_cosine": cosine, "weight_norm": norms, **changes.pop("stats", {})}
    steps = {"weight_decay": [[decay]] * len(loss), "learning_rate": [[0.01]] * len(loss)}
    return build_run(path, loss=loss, stats=stats, steps=steps, **{"facts": TEN, **changes})


def noisy(
    path: Path, cosine: float = 0.02, last: float = 0.8, others: float = 1.5, tensors: list[TensorFacts] | None = None,
    **changes: Any,
) -> Run:  # fmt: skip
    """Six layers of which the third hears noise and shrinks to `last`, while the others grow to `others`."""
    tensors = parameters(6) if tensors is None else tensors
    count = len(changes.get("recorded", falling()))
    cosines = numpy.full((1, len(tensors)), 0.4)
    ends = numpy.full(len(tensors), others)
    cosines[:, 2], ends[2] = cosine, last
    stats = {"gradient_cosine": cosines, "weight_norm": ends ** numpy.linspace(0, 1, count)[:, None]}
    return build_run(path, loss=falling(), tensors=tensors, stats=stats, **{"facts": TEN, **changes})


def with_biases() -> list[TensorFacts]:
    """Three layers, a bias behind each."""
    tensors = []
    for layer in parameters(3):
        bias = msgspec.structs.replace(layer, name=f"{layer.module}.bias", role="bias", shape=[32])
        tensors += [layer, bias]
    return [msgspec.structs.replace(tensor, id=index, depth=index) for index, tensor in enumerate(tensors)]


def swinging(path: Path, width: float = 1.2, period: int = 4, drop: float = 0.0, **changes: Any) -> Run:
    """The loss swings ever more widely, up to `width` from peak to peak, around a level that falls by `drop`."""
    steps = numpy.arange(400)
    swing = 0.5 * width * (steps / 400) ** 2 * numpy.cos(2 * numpy.pi * steps / period)
    level = numpy.where(steps < 60, 2.3 - steps / 60, 1.3) - drop * steps / 400
    return build_run(path, loss=numpy.abs(level + swing + 0.02 * flat(400)), **{"facts": TEN, **changes})


def noisy_before_one_output(
    path: Path, cosine: float = 0.3, last: float = 0.85, others: float = 2.5, bias: float = 1.0
) -> Run:
    """Three layers with biases, of which the second hears noise in front of a single output."""
    cosines = numpy.full((1, 6), 0.4)
    cosines[:, 2], cosines[:, 3] = cosine, bias
    ends = numpy.full(6, others)
    ends[2] = last
    stats = {"gradient_cosine": cosines, "weight_norm": ends ** numpy.linspace(0, 1, 200)[:, None]}
    return build_run(path, loss=falling(), tensors=with_biases(), stats=stats, facts=TEN)


def climbing(path: Path, height: float = 0.5, noise: float = 0.05, **changes: Any) -> Run:
    """A loss that falls to 0.5 by the middle of the run and climbs by `height` after it."""
    at = numpy.arange(400)
    curve = numpy.interp(at, [0, 200, 399], [2.3, 0.5, 0.5 + height])
    loss = curve * (1 + noise * numpy.random.default_rng(0).standard_normal(400))
    return build_run(path, loss=loss, **{"facts": TEN, **changes})


def cooling(
    path: Path, head: float = 4.0, others: float = 1.1, loss_rebound: float = 0.5, end: float = 0.0, rates: Any = None,
    **changes: Any,
) -> Run:  # fmt: skip
    """The learning rate falls to `end` of its peak from step 40 on; the head grows, and the loss climbs by `climb`."""
    at = numpy.arange(400)
    rate = 1e-3 * numpy.interp(at, [0, 40, 399], [1.0, 1.0, end]) if rates is None else rates
    loss = numpy.interp(at, [0, 100, 200, 399], [2.3, 1.0, 1.0, 1.0 + loss_rebound])
    loss *= 1 + 0.02 * numpy.random.default_rng(0).standard_normal(400)
    norms = others ** numpy.interp(at, [40, 399], [0, 1])[:, None] * numpy.ones((1, 6))
    norms[:, -1] = head ** numpy.interp(at, [40, 399], [0, 1])
    settings = {
        "tensors": parameters(6),
        "facts": TEN,
        "stats": {"weight_norm": norms},
        "steps": {"learning_rate": rate[:, None].tolist()},
    }
    return build_run(path, loss=loss, **{**settings, **changes})


def shrinking(
    path: Path, last: float = 0.1, decay: float = 1.0, gradient: float = 5.0, noise: float = 0.0, **changes: Any
) -> Run:
    """An embedding whose norm falls to `last` of its start under AdamW at 0.01, while its gradient grows."""
    steps = numpy.arange(300)
    norms = numpy.ones((300, 9))
    norms[:, 0] = last ** (steps / 299) * numpy.exp(noise * numpy.random.default_rng(0).standard_normal(300))
    gradients = numpy.full((300, 9), 0.1)
    gradients[:, 0] *= gradient ** (steps / 299)
    settings = {
        "tensors": linear_stack(embedding=50),
        "facts": TEN,
        "stats": {"weight_norm": norms, "gradient_norm": gradients},
        "steps": {"weight_decay": [[decay]] * 300, "learning_rate": [[0.01]] * 300},
    }
    return build_run(path, loss=falling(300), **{**settings, **changes})


Case = tuple[Callable[[Path], Run], float]
WEIGHTS: dict[str, dict[str, Case]] = {
    "excessive_weight_decay": {
        "": (lambda path: decayed(path, loss=flat()), 0),
        "cosine": (decayed, -2.0),
        "shrunk": (decayed, 0.0),
        "learned": (decayed, 0.0),
    },
    "noise_module": {
        "": (noisy, 0),
        "cosine": (noisy, 0.0),
        "shrunk": (noisy, 0.0),
        "down": (noisy_before_one_output, 0.0),
        "decay": (noisy, -1.0),
    },
    "embedding_shrinkage": {
        "": (shrinking, 0),
        "shrunk": (shrinking, 0.0),
        "steady": (lambda path: shrinking(path, noise=0.1), 1.0),
        "explained": (shrinking, 1e9),
    },
    "output_head_growth": {
        "": (cooling, 0),
        "cooled": (lambda path: cooling(path, end=0.1), 0.0),
        "growth": (cooling, 1e9),
        "apart": (cooling, 1e9),
        "rise": (cooling, 1e9),
        "errors": (cooling, 1e9),
    },
    "unstable_loss": {
        "": (swinging, 0),
        "growth": (swinging, 1e9),
        "trend": (swinging, 1.1),
        "share": (swinging, 1e9),
        "turns": (swinging, 1e9),
        "gain": (lambda path: swinging(path, drop=0.5), 1e9),
        "lost": (climbing, 1e9),
        "errors": (climbing, 1e9),
    },
}
