"""Small synthetic runs, healthy and sick, that the tests of diagnosers share."""

from pathlib import Path
from typing import Any

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema import (
    CopyFacts,
    LossFacts,
    MemorySample,
    ModelStateFacts,
    ModuleFacts,
    NormFacts,
    OutputFacts,
    ScalingFacts,
    ScheduleFacts,
    SchedulerFacts,
    TensorFacts,
)
from gradaudit.schema.loaders import AlignmentFacts, AttendedFacts, InputFacts, LastStepFacts, LoaderFacts, PaddingFacts
from gradaudit.schema.outputs import PositionFacts, PositionPart
from tests.build import build_run, linear_stack
from tests.diagnosers.graphs import APART, HEALTHY_GRAPH

TEN = LossFacts(id=0, function="cross_entropy", classes=10, label_counts=[320] * 10, label_entropy=float(numpy.log(10)))


def falling(steps: int = 200, first: float = 2.31, last: float = 0.3, noise: float = 0.02) -> Any:
    """[steps]: a loss that falls from `first` to near `last`, with a little noise."""
    random = numpy.random.default_rng(0)
    curve = last + (first - last) * numpy.exp(-numpy.arange(steps) / (steps / 6))
    curve[1:] *= 1 + noise * random.standard_normal(steps - 1)
    return curve


def flat(steps: int = 200, level: float = 2.303, noise: float = 0.005) -> Any:
    """[steps]: a loss that stays where it is."""
    return level * (1 + noise * numpy.random.default_rng(1).standard_normal(steps))


def sequences(
    training: list[float], evaluation: list[float] | None = None, entropy: float | list[float] = 2.5, targets: int = 16
) -> OutputFacts:
    """A loss over sequences of 32 tokens, of these losses at eight positions in each of eight parts of the training."""
    of_each = [entropy] * 8 if isinstance(entropy, float) else entropy

    def parts(losses: list[float] | None) -> list[PositionPart]:
        part = PositionPart(losses=losses or [], targets=[targets] * 8, entropy=of_each)
        return [part] * 8 if losses else []

    facts = PositionFacts(
        loss=0, classes=10, time_axis=1, length=32, training=parts(training), evaluation=parts(evaluation)
    )
    return OutputFacts(looked=True, positions=[facts])


def loss_input(step: int, low: float = -3.0, high: float = 4.0, error: float = 2.0, **more: Any) -> dict[str, Any]:
    """A sample of what goes into loss 0, logits unless told."""
    return {
        "step": step, "module": -1, "loss": 0, "kind": "loss_input", "elements": 320, "minimum": low, "maximum": high,
        "mean": (low + high) / 2, "std": 1.0, "nonfinite": 0, "row_sum_error": error, "batch_spread": 0.8, **more,
    }  # fmt: skip


def activation(step: int, saturated: float = 0.05, module: int = 0, **more: Any) -> dict[str, Any]:
    """A sample of what comes out of an activation module."""
    return {
        "step": step, "module": module, "loss": -1, "kind": "output", "elements": 320, "minimum": -1.0, "maximum": 1.0,
        "mean": 0.0, "std": 0.5, "nonfinite": 0, "saturated_fraction": saturated, "dead_fraction": 0.0, **more,
    }  # fmt: skip


def model_input(step: int, low: float = -3.0, high: float = 3.0, ratio: float = 1.5) -> dict[str, Any]:
    """A sample of what goes into the model."""
    return {
        "step": step, "module": 0, "loss": -1, "kind": "input", "elements": 320, "minimum": low, "maximum": high,
        "mean": (low + high) / 2, "std": (high - low) / 6, "nonfinite": 0, "feature_std_ratio": ratio,
    }  # fmt: skip


SCHEDULED = ScheduleFacts(
    recorded=True,
    schedulers=[
        SchedulerFacts(id=0, scheduler_class="OneCycleLR", optimizer=0, numbers={"total_steps": 200}, calls=199,
                       first_call=1, last_call=199, steps=200, steps_before=1, after_one=198, longest=1)
    ],
    scaling=[ScalingFacts(steps=200, updates=200, unscaled=200, clipped_after=200)],
    memory=[MemorySample(step=step, seconds=0.01 * step, host=400_000_000) for step in range(10, 200, 10)],
)  # fmt: skip
_INPUT = InputFacts(place="0", shape=[32, 8], batches=20, examples=640, elements=5120, mean=0.0, std=1.0,
                    skewness=0.0, kurtosis=3.0, mean_scatter=0.02, std_scatter=0.02)  # fmt: skip
# Shuffled training batches of text, and an evaluation of other examples.
MIXED = [
    LoaderFacts(
        id=0, role="training", dataset=0, sampler="RandomSampler", workers=2, examples=640, batch_size=32, batches=200,
        passes=10, looked=20, inputs=[_INPUT], classes=10, label_batches=20, labels_in_batch=32, distinct=9.6,
        shuffled_distinct=9.7, hashed=640, orders=9, rounds=8, causal="attention",
        alignments=[AlignmentFacts(calls=20, sequences=640, compared=[9000] * 4, equal=[300, 350, 9000, 320])],
        attended=[AttendedFacts(masked=40, in_place=True, masks=40, rows=640, partly=600, inverted=3)],
        last_step=LastStepFacts(looks=20, found=20, rows=640, positions=12_800, padded=60, padding=600, one_id=True),
        padding=PaddingFacts(batches=20, padded=20, rows=640, ended=600, shortest=2, widths=9, learned=0),
    ),
    LoaderFacts(
        id=1, role="evaluation", dataset=1, sampler="SequentialSampler", sequential=True, examples=200, batch_size=50,
        batches=40, passes=10, looked=14, inputs=[_INPUT], hashed=200, compared_with=0,
    ),
]  # fmt: skip

# What a healthy run must have for a rule that looks at something special to be satisfied and not "not applicable".
HEALTHY_WITH: dict[str, dict[str, Any]] = {
    "unshuffled_data": {"loaders": MIXED},
    "input_shift": {"loaders": MIXED},
    "data_leakage": {"loaders": MIXED},
    "repeated_augmentation": {"loaders": MIXED},
    "label_misalignment": {"loaders": MIXED},
    "unlearned_token": {"loaders": MIXED},
    "inverted_mask": {"loaders": MIXED},
    "padded_last_step": {"loaders": MIXED},
    "broadcast_loss": {"facts": LossFacts(id=0, function="mse_loss", broadcast=[], evaluation_broadcast=[])},
    "detached_loss": {"graph": HEALTHY_GRAPH},
    "growing_graph": {"graph": HEALTHY_GRAPH},
    "scrambled_axes": {"graph": HEALTHY_GRAPH},
    "representation_collapse": {"graph": APART},
    "excessive_weight_decay": {"stats": {"update_weight_cosine": -0.05}},
    "future_leak": {"outputs": sequences([2.6, 2.3, 2.2, 2.1, 2.0, 2.0, 2.0, 2.1])},
    "embedding_shrinkage": {"steps": {"weight_decay": [[0.01]] * 200}},
    "epsilon_dominates": {"defaults": {"eps": 1e-8}},
    "scheduler_units": {"schedules": SCHEDULED},
    "clipping_before_unscale": {"schedules": SCHEDULED},
    "recreated_optimizer": {"schedules": SCHEDULED},
    "replaced_parameter": {"schedules": SCHEDULED},
    "unregistered_parameter": {"schedules": SCHEDULED},
    "memory_growth": {"schedules": SCHEDULED},
    "output_head_growth": {"steps": {"learning_rate": [[1e-3 * (1 - step / 200)] for step in range(200)]}},
    "noise_module": {"stats": {"gradient_cosine": 0.3}},
    "amp_overflow": {"steps": {"amp_scale": 65536.0}},
    "small_batch_normalization": {
        "modules": [ModuleFacts(id=0, name="norm", module_class="BatchNorm1d", batch_norm=True)]
    },
    "validation_better_than_train": {"modules": [ModuleFacts(id=0, name="", module_class="Net")]},
    "stochastic_evaluation": {"model_state": ModelStateFacts(looked=True, evaluations=40)},
    "unloaded_checkpoint": {"model_state": ModelStateFacts(looked=True, loaded=2)},
    "frozen_statistics": {
        "model_state": ModelStateFacts(
            looked=True, norms=[NormFacts(name="norm", momentum=0.1, first=[0, 1, 0.1, 0.1], last=[199, 200, 1.0, 1.0])]
        )
    },
    "stale_copy": {
        "model_state": ModelStateFacts(looked=True, copies=[CopyFacts(name="average", of="model", changed=9, looks=10)])
    },
    "unreachable_target": {
        "facts": LossFacts(
            id=0, function="mse_loss", activation="sigmoid", target_mean=0.5, target_variance=0.04, output_variance=0.04
        )
    },
    "activation_before_loss": {"samples": [loss_input(step) for step in range(0, 200, 10)]},
    "saturated_activation": {
        "modules": [ModuleFacts(id=0, name="squash", module_class="Tanh")],
        "samples": [activation(step) for step in range(0, 200, 10)],
    },
}


def healthy(path: Path, **changes: Any) -> Run:
    """A classifier of ten classes behind an embedding that trains as it should; `changes` go to `build_run`."""
    tensors = linear_stack(embedding=50)
    loss = changes.pop("loss", None)
    loss = falling() if loss is None else loss
    held_out = [(step, "validation", float(1.05 * loss[step])) for step in range(0, len(loss), 20)]
    settings: dict[str, Any] = {
        "tensors": tensors,
        "facts": TEN,
        "evaluations": held_out,
        "rows": embedding_rows(len(loss), tensor=0, rows=50, hit=30)
        + output_rows(len(loss), {1: 0.1, 3: 0.2, 5: 0.1, 7: 0.0}),
        **changes,
    }
    return build_run(path / "run", loss=loss, **settings)


def embedding_rows(steps: int, tensor: int, rows: int, hit: int, **last: Any) -> list[dict[str, Any]]:
    """Table `rows` of one embedding at every tenth step; `last` overrides the last record."""
    records = []
    for step in range(0, steps, 10):
        ever = min(rows, hit + step)
        records.append(
            {"optimizer": 0, "step": step, "tensor": tensor, "rows": rows, "tracked": rows, "hit": hit,
             "ever_hit": ever, "moved": ever, "stopped": 0, "silent": 0, "checksum": step,
             "hits_histogram": [rows - ever, 0, ever],
             "movement": [float("nan"), float("nan"), 0.1], "never_hit_rows": [], "stopped_rows": []}
        )  # fmt: skip
    records[-1].update(last)
    return records


def output_rows(
    steps: int, layers: dict[int, float], outputs: int = 32, first: dict[int, float] | None = None
) -> list[dict[str, Any]]:
    """Table `rows` of weights, at every tenth step: of each tensor the share of silent outputs, `first` at step 0."""
    records = []
    for step in range(0, steps, 10):
        for tensor, share in layers.items():
            now = share if step or not first else first.get(tensor, share)
            hit = round(outputs * (1 - now))
            records.append(
                {"optimizer": 0, "step": step, "tensor": tensor, "rows": outputs, "tracked": outputs, "hit": hit,
                 "ever_hit": hit, "moved": -1, "stopped": 0, "silent": outputs - hit if step >= 30 else 0,
                 "checksum": 0, "hits_histogram": [outputs - hit, 0, hit], "movement": [float("nan")] * 3,
                 "never_hit_rows": [], "stopped_rows": []}
            )  # fmt: skip
    return records


def parameters(count: int) -> list[TensorFacts]:
    """`count` weight layers without biases."""
    return [
        TensorFacts(id=layer, name=f"layers.{layer}.weight", role="weight", module=f"layers.{layer}",
                    module_class="Linear", shape=[32, 32], depth=layer, optimizer=0, group=0)
        for layer in range(count)
    ]  # fmt: skip
