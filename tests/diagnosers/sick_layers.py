"""Sick runs of the rules about what goes into the model and the loss, and about what comes out of its layers."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import DataFacts, LossFacts, ModuleFacts
from tests.build import build_run, linear_stack
from tests.diagnosers.runs import TEN, activation, falling, flat, loss_input, model_input, output_rows

BINARY = LossFacts(id=0, function="binary_cross_entropy_with_logits", target_mean=0.4, binary_entropy=0.67)
TANH = [
    ModuleFacts(id=0, name="", module_class="Net"),
    ModuleFacts(id=1, name="layers.0", module_class="Linear"),
    ModuleFacts(id=2, name="squash", module_class="Tanh"),
    ModuleFacts(id=3, name="layers.1", module_class="Linear"),
]


def probabilities(
    path: Path, low: float = 0.01, high: float = 0.97, error: float = 1e-7, last: int = 190, **changes: Any
) -> Run:
    """What goes into the loss lies between `low` and `high`, and its rows sum to 1 but for `error`."""
    samples = [loss_input(step, low, high, error) for step in range(0, last + 1, 10)]
    return build_run(path, loss=falling(last=1.6), samples=samples, **{"facts": TEN, **changes})


def stretched(path: Path, *, stuck: bool = True, field: str = "broadcast", **changes: Any) -> Run:
    """mse_loss was called with (32, 1) and (32); `stuck`: the loss ends at the variance of the target, 1."""
    shapes = {"broadcast": [], "evaluation_broadcast": [], field: [[32, 1], [32]]}
    facts = LossFacts(id=0, function="mse_loss", target_mean=0.1, target_variance=1.0, **shapes)
    loss = flat(200, 1.02) if stuck else falling(first=1.4, last=0.3)
    return build_run(path, **{"loss": loss, "facts": facts, **changes})


def out_of_reach(
    path: Path, activation: str = "sigmoid", mean: float = 45.0, variance: float = 400.0, over: int = 0
) -> Run:
    """Targets with this mean and variance, and predictions that come from this activation; the loss stays at both."""
    facts = LossFacts(
        id=0, function="mse_loss", activation=activation, softmax_over=over, target_mean=mean, target_variance=variance,
        output_variance=variance,
    )  # fmt: skip
    return build_run(path, loss=flat(200, mean**2 + variance), facts=facts)


def raw_input(path: Path, size: float = 100.0, bias: float = 1.0, **changes: Any) -> Run:
    """The first of four layers of 32 inputs gets inputs of this size; `bias` scales the gradient of its bias."""
    tensors = changes.pop("tensors", None) or linear_stack()
    gradient = numpy.full((200, len(tensors)), 0.1)
    gradient[:, 0] = 0.1 * size * numpy.sqrt(32)
    gradient[:, 1] *= bias
    stats = {"gradient_norm": gradient}
    return build_run(path, loss=falling(), tensors=tensors, stats=stats, **{"facts": TEN, **changes})


def large_sample(path: Path, high: float = 255.0, ratio: float = 1.5, **changes: Any) -> Run:
    """The sampled inputs of the model reach up to `high`."""
    samples = [model_input(step, 0.0, high, ratio) for step in range(0, 200, 10)]
    return build_run(path, loss=falling(), facts=TEN, samples=samples, **changes)


def dead_layer(
    path: Path, share: float = 1.0, loss: Any = None, outputs: int = 32, first: float | None = None, which: int = 4,
    **changes: Any,
) -> Run:  # fmt: skip
    """Of the layers 0, 2, 4 and 6 of a stack the one with tensor `which` has lost `share` of its outputs."""
    loss = falling() if loss is None else loss
    tensors = changes.pop("tensors", None) or linear_stack()
    gradient = numpy.full((len(loss), len(tensors)), 0.1)
    layers = dict.fromkeys((0, 2, 4, 6), 0.0)
    layers[which] = share
    if share == 1:  # nothing passes it on the way back, and the next layer's inputs are zero
        gradient[:, : which + 2] = 0
        layers |= {tensor: 1.0 for tensor in layers if tensor < which}
        if which < 6:
            layers[which + 2], gradient[:, which + 2] = 1.0, 0
    rows = output_rows(len(loss), layers, outputs, None if first is None else {which: first})
    return build_run(
        path, loss=loss, tensors=tensors, stats={"gradient_norm": gradient}, rows=rows, **{"facts": TEN, **changes}
    )  # fmt: skip


def constant_inputs(path: Path, share: float = 0.75, size: int = 2, cosine: float = 0.95) -> Run:
    """A layer with `share` of its outputs silent; a batch holds `size` examples, the same unless gradients differ."""
    stats = {"gradient_norm": 0.1, "gradient_cosine": cosine}
    rows = output_rows(200, {0: 0.0, 2: share, 4: 0.0, 6: 0.0})
    return build_run(path, loss=falling(), rows=rows, stats=stats, facts=TEN, steps={"batch_size": size})


def saturated(path: Path, share: float = 0.9, first: float | None = None, module: int = 2, **changes: Any) -> Run:
    """The outputs of a tanh are saturated to `share`."""
    samples = [activation(step, share, module) for step in range(0, 200, 10)]
    if first is not None:
        samples[0]["saturated_fraction"] = first
    return build_run(path, loss=falling(), samples=samples, **{"facts": TEN, "modules": TANH, **changes})


def saturated_output(path: Path, share: float = 0.95, first: float = 0.95) -> Run:
    """The model ends with a sigmoid that is saturated."""
    modules = [*TANH[:2], ModuleFacts(id=2, name="probability", module_class="Sigmoid")]
    return saturated(path, share, first, modules=modules)


def without_signal(
    path: Path, held_out: float = 2.4, gain: float = 0.0, epochs: int = 0, loss: Any = None, **changes: Any
) -> Run:
    """The training loss falls and the validation one stays at `held_out`, less `gain` over the run."""
    loss = falling(300) if loss is None else loss
    evaluations = [(step, "validation", float(held_out - gain * step / 300)) for step in range(0, 300, 30)]
    data = DataFacts(batch_size=32, batches_per_epoch=len(loss) // epochs if epochs else 0)
    return build_run(path, loss=loss, evaluations=evaluations, data=data, **{"facts": TEN, **changes})


def caught(
    path: Path, at: int = 100, level: float = 0.5, gradient: float = 0.01, noise: float = 0.005, steps: int = 400,
    **changes: Any,
) -> Run:  # fmt: skip
    """The loss falls in a straight line to `level` of its start, stops at step `at`, and the gradient is gone."""
    random = numpy.random.default_rng(0)
    curve = numpy.interp(numpy.arange(steps), [0, at, steps], [2.3, 2.3 * level, 2.3 * level])
    norm = numpy.where(numpy.arange(steps) < at, 1.0, gradient) * (1 + 0.1 * random.standard_normal(steps))
    given = {"gradient_norm": numpy.abs(norm), **changes.pop("steps_columns", {})}
    loss = curve * (1 + noise * random.standard_normal(steps))
    return build_run(path, loss=loss, steps=given, **{"facts": TEN, **changes})


def starving(path: Path, fade: float = 0.95, time: float = 60.0, floor: float = 0.0, **changes: Any) -> Run:
    """The learning rate fades by `fade` a step, and the loss falls with it: by 1 / e in `time` steps at the peak."""
    rates = 1e-3 * fade ** numpy.arange(400)
    loss = floor + (2.3 - floor) * numpy.exp(-numpy.cumsum(rates) / 1e-3 / time)
    loss *= 1 + 0.02 * numpy.random.default_rng(0).standard_normal(400)
    steps = {"learning_rate": [[rate] for rate in rates]}
    return build_run(path, loss=loss, steps=steps, **{"facts": TEN, **changes})


def silent_prediction(path: Path, spread: float = 1e-4, facts: LossFacts = TEN, level: float = 2.303) -> Run:
    """The loss stays at `level`, and over a batch the outputs differ by `spread`."""
    samples = [loss_input(step, batch_spread=spread) for step in range(0, 300, 10)]
    return build_run(path, loss=flat(300, level), facts=facts, samples=samples)


def narrow(path: Path, outputs: int) -> Run:
    """A stack of layers with so many outputs, of which the third is dead."""
    tensors = [
        msgspec.structs.replace(t, shape=[outputs, 32] if t.role == "weight" else [outputs]) for t in linear_stack()
    ]
    return dead_layer(path, tensors=tensors, outputs=outputs)


def chained(path: Path, weight: float = 20.0, kind: str = "Tanh", inputs: float = 0.9, **changes: Any) -> Run:
    """Linear and `kind` in turn; weights of that gain, inputs of that size, no sample of an activation."""
    names = ["", *(str(place) for place in range(7))]
    classes = ["Sequential", *(["Linear", kind] * 4)[:7]]
    modules = [ModuleFacts(id=i, name=n, module_class=c) for i, (n, c) in enumerate(zip(names, classes, strict=True))]
    tensors = [
        msgspec.structs.replace(t, name=f"{2 * (t.id // 2)}.{t.role}", module=str(2 * (t.id // 2)))
        for t in linear_stack()
    ]
    weights = numpy.asarray([t.role == "weight" for t in tensors])
    stats = {
        "weight_norm": numpy.where(weights, weight * math.sqrt(32), 0.1),
        "gradient_norm": numpy.where(weights, 0.1 * inputs * math.sqrt(32), 0.1),
        **changes.pop("stats", {}),
    }
    return build_run(path, loss=falling(), tensors=tensors, **{"stats": stats, "modules": modules, **changes})


def stuck_output(path: Path, mean: float = 1.0, std: float = 0.0, last: float | None = None, **changes: Any) -> Run:
    """A model that ends with a tanh, whose output is the loss's input and was not sampled itself."""
    samples = [
        loss_input(10 * index, -1.0 if std else float(at), 1.0 if std else float(at), mean=float(at), std=std)
        for index, at in enumerate(numpy.linspace(mean, mean if last is None else last, 20))
    ]
    modules = [*TANH[:2], ModuleFacts(id=2, name="squash", module_class="Tanh")]
    facts = LossFacts(id=0, function="mse_loss")
    return build_run(path, loss=falling(), **{"samples": samples, "modules": modules, "facts": facts, **changes})


Case = tuple[Callable[[Path], Run], float]
LAYERS: dict[str, dict[str, Case]] = {
    "broadcast_loss": {"": (stretched, 0)},
    "unreachable_target": {
        "": (out_of_reach, 0),
        "lost": (lambda path: out_of_reach(path, mean=0.0, variance=1.0), 1.0),
    },
    "activation_before_loss": {
        "": (probabilities, 0),
        "steps": (probabilities, 1e9),
        "row_sum": (probabilities, 0.0),
        "reach": (lambda path: probabilities(path, error=0.5), 1.0),
    },
    "unscaled_input": {
        "": (raw_input, 0),
        "scale": (raw_input, 1e9),
        "largest": (large_sample, 1e9),
    },
    "dead_relu": {
        "": (dead_layer, 0),
        "most": (lambda path: dead_layer(path, 0.75), 0.9),
        "width": (lambda path: dead_layer(path, 0.75), 1e9),
        "nearly": (lambda path: dead_layer(path, loss=flat()), 1.1),
        "least_width": (lambda path: narrow(path, 8), 1e9),
        "left": (lambda path: dead_layer(path, 0.75, loss=falling(last=0.05)), 0.0),
        "examples": (lambda path: constant_inputs(path, size=64), 1e9),
    },
    "saturated_activation": {
        "": (saturated, 0),
        "most": (saturated, 1.0),
        "output": (saturated_output, 1.0),
    },
    "no_signal": {
        "": (without_signal, 0),
        "prior": (without_signal, 1e9),
        "gain": (without_signal, -1e9),
        "epochs": (lambda path: without_signal(path, epochs=6), 1e9),
    },
    "premature_plateau": {
        "": (caught, 0),
        "flat": (caught, 0.0),
        "early": (caught, 0.0),
        "left": (caught, 1.0),
        "fell": (caught, 1.0),
        "faded": (caught, 0.0),
        "spent": (starving, 0.0),
        "unfinished": (lambda path: starving(path, time=20), 1.0),
    },
}  # fmt: skip
