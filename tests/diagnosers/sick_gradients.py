"""Sick runs of the rules about the size of gradients and about where the loss goes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy

from gradaudit.reading.run import Run, load
from gradaudit.schema import DataFacts, OptimizerFacts
from tests.build import build_run
from tests.diagnosers.runs import TEN, falling, flat, parameters


def clipped(path: Path, times: float = 20.0, share: float = 1.0, optimizer: str = "SGD", **changes: Any) -> Run:
    """The norm before clipping is `times` the threshold of 0.5, at the last `share` of 200 steps."""
    norm = numpy.where(numpy.arange(200) >= 200 - share * 200, 0.5 * times, 0.1)
    steps = {"clip_kind": 1, "clip_threshold": 0.5, "gradient_norm": norm, **changes.pop("steps", {})}
    stats = {"gradient_norm": 0.5 / numpy.sqrt(8), **changes.pop("stats", {})}
    return build_run(path, loss=falling(), facts=TEN, steps=steps, stats=stats, optimizer=optimizer, **changes)


def clipped_by_value(path: Path, level: float = 0.9, norm: float = 1.0, optimizer: str = "AdamW") -> Run:
    """Elements are cut at 0.01 and have a root mean square of `level` of it; before that the norm was `norm`."""
    tensors = parameters(6)
    stats = {"gradient_max_abs": 0.01, "gradient_norm": 0.01 * level * numpy.sqrt([t.elements for t in tensors])}
    steps = {"clip_kind": 2, "clip_threshold": 0.01, "gradient_norm": norm}
    return build_run(path, loss=falling(), facts=TEN, tensors=tensors, steps=steps, stats=stats, optimizer=optimizer)


def diverging(path: Path, last: float = 40.0, first: float = 2.3, **changes: Any) -> Run:
    """The loss falls for 100 steps and then climbs to `last`."""
    loss = numpy.concatenate([numpy.linspace(first, 0.5 * first, 100), numpy.geomspace(0.5 * first, last, 100)])
    return build_run(path, loss=loss, **{"facts": TEN, **changes})


def stuck(path: Path, steps: int = 300, epochs: int = 0, level: float = 2.303, **changes: Any) -> Run:
    """The loss stays at `level`, for so many epochs where that is known."""
    data = DataFacts(batch_size=32, batches_per_epoch=steps // epochs if epochs else 0)
    return build_run(path, loss=flat(steps, level), data=data, **{"facts": TEN, **changes})


def sloped(path: Path, decades: float = 5.0, loss: Any = None, late: float | None = None, **changes: Any) -> Run:
    """Eight layers whose gradient falls by `decades` from the last to the first, by `late` in the last half."""
    loss = falling() if loss is None else loss
    early = numpy.logspace(-decades, 0, 8)
    after = early if late is None else numpy.logspace(-late, 0, 8)
    half = numpy.arange(len(loss))[:, None] < len(loss) // 2
    return build_run(
        path, loss=loss, tensors=parameters(8), stats={"gradient_norm": numpy.where(half, early, after)},
        **{"facts": TEN, **changes},
    )  # fmt: skip


def stretched(path: Path, decades: float = 2.0, head: float = 0.0, late: float | None = None) -> Run:
    """Eight layers whose gradient grows by `decades` towards the input, and behind them a head with 10^`head`."""
    early = numpy.append(numpy.logspace(decades / 2, -decades / 2, 8), 10**head)
    after = early if late is None else numpy.append(numpy.logspace(late / 2, -late / 2, 8), 10**head)
    half = numpy.arange(200)[:, None] < 100
    stats = {"gradient_norm": numpy.where(half, early, after)}
    return build_run(path, loss=falling(), tensors=parameters(9), stats=stats, facts=TEN)


def disordered(path: Path, decades: float) -> Run:
    """The same gradients as `sloped`, with the layers only roughly in that order."""
    logs = numpy.linspace(-decades, 0, 8)[[0, 1, 5, 2, 3, 4, 6, 7]]
    return build_run(path, loss=falling(), tensors=parameters(8), stats={"gradient_norm": 10**logs}, facts=TEN)


def with_eps(run: Run, eps: float) -> Run:
    """The same run of an AdamW with this eps."""
    optimizers = [OptimizerFacts(id=0, optimizer_class="AdamW", defaults={"eps": eps})]
    (run.path / "run.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(run.meta, optimizers=optimizers)))
    return load(run.path)


def below_eps(path: Path, share: float = 0.01, eps: float = 1e-8, loss: Any = None, **changes: Any) -> Run:
    """Every gradient is `share` of Adam's eps per element."""
    loss = falling() if loss is None else loss
    stats = {"gradient_norm": share * eps * 32, "update_norm": 0.2e-3 * 32 * share / (1 + share)}
    return build_run(
        path, loss=loss, tensors=parameters(6),
        **{"facts": TEN, "stats": stats, "defaults": {"eps": eps, "betas": [0.9, 0.999]}, **changes},
    )  # fmt: skip


def fading_into_eps(path: Path, from_step: int = 80, layers: int = 6, facts: Any = TEN, loss: Any = None) -> Run:
    """The gradient of so many of six layers falls below eps, once and for all, at a step."""
    late = (numpy.arange(200)[:, None] >= from_step) & (numpy.arange(6) < layers)
    stats = {"gradient_norm": numpy.where(late, 0.5, 2.0) * 1e-8 * 32}
    loss = falling() if loss is None else loss
    return build_run(
        path, loss=loss, tensors=parameters(6), stats=stats, facts=facts,
        defaults={"eps": 1e-8, "betas": [0.9, 0.9]},
    )  # fmt: skip


def growing(path: Path, times: float = 6.0, loss: Any = None, noise: float = 0.05, **changes: Any) -> Run:
    """The gradient norm grows by `times` from the second fifth to the last, while the loss stays where it is."""
    random = numpy.random.default_rng(0)
    steps = numpy.arange(200)
    norm = times ** (numpy.clip(steps - 50, 0, 130) / 130) * (1 + noise * random.standard_normal(200))
    loss = flat(200, 1.2) if loss is None else loss
    return build_run(path, loss=loss, steps={"gradient_norm": numpy.abs(norm)}, **{"facts": TEN, **changes})


def bursting(path: Path) -> Run:
    """The norm falls all the time, and is high in the last fifth."""
    norm = numpy.linspace(2.0, 0.5, 200)
    norm[160:] = 6.0
    return build_run(path, loss=flat(200, 1.2), steps={"gradient_norm": norm}, facts=TEN)


Case = tuple[Callable[[Path], Run], float]
GRADIENTS: dict[str, dict[str, Case]] = {
    "constant_clipping": {
        "": (clipped, 0),
        "most": (clipped, 1.0),
        "times": (clipped, 1e9),
        "level": (clipped_by_value, 1.0),
    },
    "divergence": {
        "": (diverging, 0),
        "doubled": (lambda path: diverging(path, last=6.0), 1e9),
        "worse": (lambda path: diverging(path, last=3.5), 1e9),
    },
    "no_learning": {
        "": (stuck, 0),
        "constant": (stuck, 2.0),
        "epochs": (lambda path: stuck(path, epochs=6), 1e9),
    },
    "vanishing_gradient": {
        "": (sloped, 0),
        "decades": (sloped, 1e9),
        "order": (lambda path: disordered(path, 5.0), 1.0),
    },
    "epsilon_dominates": {
        "": (below_eps, 0),
        "below": (below_eps, 0.0),
        "layers": (fading_into_eps, 1.1),
        "most": (below_eps, 1.0),
        "solved": (below_eps, 1.0),
    },
    "exploding_gradient": {
        "": (lambda path: sloped(path, -5.0), 0),
        "decades": (lambda path: disordered(path, -5.0), 1e9),
        "steady": (lambda path: stretched(path), 1e9),
        "order": (lambda path: disordered(path, -5.0), 1.0),
    },
    "gradient_growth": {
        "": (growing, 0),
        "growth": (growing, 1e9),
        "trend": (growing, 1.0),
        "gain": (growing, -1.0),
        "unclear_growth": (
            lambda path: growing(path, 30.0, facts=msgspec.structs.replace(TEN, function="logged")), 1e9
        ),
        "worse": (
            lambda path: growing(
                path, 40.0, loss=numpy.geomspace(0.5, 50, 200), facts=msgspec.structs.replace(TEN, function="logged")
            ),
            1e9,
        ),
    },
}  # fmt: skip
