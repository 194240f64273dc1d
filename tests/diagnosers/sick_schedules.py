"""Runs of the rules that judge schedulers, scaling, optimizers made anew, replaced parameters and memory."""

from pathlib import Path
from typing import Any

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import (
    DataFacts,
    GraphsKept,
    LoaderFacts,
    MemorySample,
    OptimizerLives,
    ReplacedFacts,
    ScalingFacts,
    ScheduleFacts,
    SchedulerFacts,
    UnregisteredFacts,
)
from tests.build import build_run
from tests.diagnosers.runs import falling

EPOCHS, BATCHES = 12, 50
HELD = [LoaderFacts(id=0, role="evaluation", examples=400)]  # what is evaluated


def scheduled(
    path: Path, kind: str = "LambdaLR", per: str = "step", rate: Any = None, steps: int = EPOCHS * BATCHES,
    accumulated: int = 1, **changes: Any,
) -> Run:  # fmt: skip
    """A run of 12 epochs of 50 batches whose scheduler is stepped so; `changes` go to its facts, or to the run."""
    calls = {"step": steps, "epoch": steps // BATCHES, "twice": 2 * steps}[per]
    gap = {"step": 1, "epoch": BATCHES, "twice": 1}[per]
    run = {
        key: changes.pop(key)
        for key in ("state", "world_size", "data", "others", "evaluations", "loss", "loaders")
        if key in changes
    }
    others, loss = run.pop("others", []), run.pop("loss", falling(steps))
    facts = {
        "scheduler_class": kind, "optimizer": 0, "calls": calls, "first_call": gap, "last_call": steps,
        "steps": changes.pop("own", steps), "steps_before": gap, "repeated": steps if per == "twice" else 0,
        "after_one": (steps - 1) * (gap == 1), "after_more": (calls - 1) * (gap > 1), "longest": gap, **changes,
    }  # fmt: skip
    rates = numpy.full(steps, 1e-3) if rate is None else numpy.asarray(rate)
    return build_run(
        path,
        loss=loss,
        recorded=[0, steps - 1],
        steps={"learning_rate": [[float(one)] for one in rates], "micro_steps": accumulated},
        defaults={"lr": 1e-3},
        **{"data": DataFacts(batch_size=32, batches_per_epoch=BATCHES), **run},
        schedules=ScheduleFacts(recorded=True, schedulers=[SchedulerFacts(id=0, **facts), *others]),
    )


def warming(steps: int = EPOCHS * BATCHES, whole: float = 60.0) -> Any:
    """[steps]: a warmup that is stepped once an epoch."""
    return 1e-3 * (1 + numpy.arange(steps) // BATCHES) / whole


def in_epochs(path: Path, **changes: Any) -> Run:
    """A schedule of 600 steps that is stepped 12 times."""
    numbers = {"total_steps": 600.0, "warmup_steps": 60.0}
    return scheduled(path, per="epoch", **{"rate": warming(), "numbers": numbers, **changes})


def of_epochs(path: Path, **changes: Any) -> Run:
    """A cosine over 12 epochs that is stepped once a batch."""
    return scheduled(path, **{"kind": "CosineAnnealingLR", "numbers": {"T_max": 12.0}, **changes})


def twice(path: Path, **changes: Any) -> Run:
    """A linear decay over the steps of the run that is stepped twice a step."""
    return scheduled(path, per="twice", **{"numbers": {"num_training_steps": 600.0}, **changes})


def scaled(path: Path, before: int = 200, scale: float = 65536.0, **changes: Any) -> Run:
    """A run under a GradScaler, with so many steps clipped before they are unscaled."""
    facts = {"steps": 200, "updates": 200, "clipped_before": before, "clipped_after": 200 - before,
             "first_step": 0 if before else -1, **changes}  # fmt: skip
    steps = {"amp_scale": scale, "clip_threshold": 1.0, "clip_kind": 1}
    return build_run(
        path, loss=falling(), steps=steps, schedules=ScheduleFacts(recorded=True, scaling=[ScalingFacts(**facts)])
    )


def made_anew(path: Path, times: int = 7, life: int = 25, beta: float = 0.999, **changes: Any) -> Run:
    """A run whose optimizer is made anew so often."""
    at = [life * (one + 1) for one in range(times)]
    facts = {"optimizer": 0, "made": times + 1, "lost": times, "stateful": True, "at": at, "lives": [life] * times,
             **changes}  # fmt: skip
    return build_run(
        path, loss=falling(), defaults={"lr": 1e-3, "betas": [0.9, beta]},
        schedules=ScheduleFacts(recorded=True, lives=[OptimizerLives(**facts)]),
    )  # fmt: skip


def in_a_list(path: Path, **changes: Any) -> Run:
    """A run of a model that keeps layers in a plain list."""
    facts = {"name": "encoder.layers", "holder": "Encoder", "modules": 3, "tensors": 6, "elements": 100, "looks": 3,
             **changes}  # fmt: skip
    told = [UnregisteredFacts(**facts)]
    return build_run(path, loss=falling(), schedules=ScheduleFacts(recorded=True, unregistered=told))


def replaced(path: Path, **changes: Any) -> Run:
    """A run whose optimizer was made before the head was replaced."""
    facts = {"optimizer": 0, "first_step": 0, "last_step": 100, "tensors": 8, "missing": 2, "strangers": 2,
             "names": ["head.weight", "head.bias"], "matches": 2, "shapes": [[5, 48], [5]],
             "old_shapes": [[10, 48], [10]], **changes}  # fmt: skip
    return build_run(path, loss=falling(), schedules=ScheduleFacts(recorded=True, replaced=[ReplacedFacts(**facts)]))


def memory_of(
    path: Path, host: Any, steps: int = 1000, graphs: GraphsKept | None = None, device: Any = None, batches: int = 0,
    evaluated: GraphsKept | None = None,
) -> Run:  # fmt: skip
    """A run whose memory is so many megabytes at each of its samples; `host` and `device` are functions of the step."""
    at = sorted({max(1, round(1.25**power)) for power in range(31)} & set(range(1, steps + 1)))
    samples = [
        MemorySample(step=one, seconds=one * 0.01, host=int(host(one) * 1e6),
                     device=int(device(one) * 1e6) if device else -1)
        for one in at
    ]  # fmt: skip
    return build_run(
        path, loss=falling(steps), recorded=[0, steps - 1], data=DataFacts(batches_per_epoch=batches),
        schedules=ScheduleFacts(
            recorded=True, memory=samples, graphs=graphs or GraphsKept(), evaluation_graphs=evaluated or GraphsKept()
        ),
    )  # fmt: skip


def leaking(path: Path, graphs: bool = True, **changes: Any) -> Run:
    """Memory that grows by a megabyte a step, with every graph kept."""
    kept = GraphsKept(marked=26, alive=26, most=26, steps=900) if graphs else GraphsKept(marked=26)
    return memory_of(path, **{"host": lambda step: 400 + step, "graphs": kept, **changes})


def plateau(
    path: Path, mode: str = "min", metrics: Any = None, reached: float = 1e-3, evaluations: Any = (), **changes: Any
) -> Run:
    """A plateau scheduler that was given an accuracy out of 400 after each epoch, and cuts the rate after three."""
    counts = [104, 156, 177, 182, 192, 192, 191, 192, 193, 192, 192, 192]
    metrics = [count / 400 for count in counts] if metrics is None else metrics
    rate = numpy.full(EPOCHS * BATCHES, 1e-3)
    rate[3 * BATCHES :] *= reached
    at = [BATCHES * (epoch + 1) for epoch in range(len(metrics))]
    pairs = [[float(step), metric] for step, metric in zip(at, metrics, strict=True)]
    evaluations = [(step - 1, "validation", loss) for step, loss in zip(at, evaluations, strict=False)]
    numbers = {"patience": 1.0, "factor": 0.1}
    return scheduled(
        path, "ReduceLROnPlateau", per="epoch", rate=rate, mode=mode, metrics=pairs, numbers=numbers,
        evaluations=evaluations, **changes,
    )  # fmt: skip


SCHEDULES: dict[str, dict[str, tuple[Any, float]]] = {
    "scheduler_units": {
        "": (in_epochs, 0),
        "part": (lambda path: scheduled(path, "PolynomialLR", numbers={"total_iters": 200.0}), 0.0),
        "near": (lambda path: in_epochs(path, numbers={"total_steps": 590.0}, state="killed"), 0.0),
        "often": (twice, 1.0),
        "errors": (lambda path: plateau(path, loaders=HELD), 1e9),
    },
    "clipping_before_unscale": {
        "": (scaled, 0),
        "share": (scaled, 1.0),
        "scaled": (scaled, 1e9),
    },
    "recreated_optimizer": {
        "": (made_anew, 0),
        "often": (made_anew, 1e9),
        "memory": (made_anew, 0.0),
    },
    "replaced_parameter": {
        "": (replaced, 0),
        "least": (replaced, 1e9),
    },
    "unregistered_parameter": {
        "": (in_a_list, 0),
        "most": (lambda path: in_a_list(path, elements=10**6), 1.0),
        "least": (in_a_list, 1e9),
    },
    "memory_growth": {
        "": (leaking, 0),
        "grown": (leaking, 1e9),
        "least": (leaking, 1e9),
        "steady": (lambda path: leaking(path, graphs=False), 1.1),
        "kept": (leaking, 1.0),
        "every": (lambda path: leaking(path, host=lambda step: 400), 1e9),
    },
}
