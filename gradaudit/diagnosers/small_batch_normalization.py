"""Batch normalisation estimates mean and variance from too few examples.

## What it looks for

The number of examples in one forward pass, for models with BatchNorm in training mode. Behind a linear layer
BatchNorm1d has one value per channel for each example: fewer than `values` is a note, fewer than `few` a warning.
Behind a convolution each example brings as many values as it has positions. These are not recorded, so there it can
only say that a batch of `values` or more is large enough.

## Why it matters

The mean and the variance of four numbers are mostly chance. They make training noisy, and they differ from the running
statistics that evaluation uses. Training and validation loss are then those of two different models, and the gap
between them says little about overfitting.

## What to try

GroupNorm or LayerNorm, which do not depend on the batch; a larger batch; SyncBatchNorm over several processes.
Gradient accumulation does not help: each forward pass is normalised on its own.

## When it is wrong

Frozen batch normalisation uses running statistics, so its batch size does not matter; layers whose scale and shift
never change are taken for frozen. The loss curves hardly show the harm, so this is judged by the sizes alone.
"""

from collections.abc import Iterator

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.module_names import layer
from gradaudit.evidence.words.wording import count, names, plural, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.layers.unchanged import unchanged
from gradaudit.signals.order_statistics import median


class Limits(msgspec.Struct, frozen=True):
    """From how few values on a mean and a variance are mostly chance."""

    values: float = 16  # a channel; the relative error of a variance of 16 values is 35 %
    few: float = 5  # the faulty runs had 4 or fewer


class SmallBatch(Judged, frozen=True):
    """Batch norm behind linear layers computes its statistics from one value for each of few examples."""

    examples: float  # in a forward pass, median
    layers: tuple[str, ...]  # names of the batch norm modules of which each example is one value a channel
    very_few: bool  # fewer than `few`
    span: Span


class LargeBatch(Judged, frozen=True):
    """A forward pass has examples enough, whatever is in front of batch norm."""

    examples: float  # in a forward pass, median
    layers: int  # of batch normalisation


class PositionsUnknown(Judged, frozen=True):
    """Few examples, of which each brings as many values as it has positions: how many is not recorded."""

    examples: float  # in a forward pass, median


@diagnoser(worst=Severity.WARNING, needs=("steps.batch_size",), minimum_steps=5)
def small_batch_normalization(
    run: Run, limits: Limits
) -> Iterator[SmallBatch | LargeBatch | PositionsUnknown | NotApplicable | Skipped]:
    """Compare the size of a forward pass with what batch normalisation needs."""
    norms = [module for module in run.meta.modules if module.batch_norm]
    if not norms:
        yield NotApplicable(reason="the model has no batch normalisation")
        return
    frame = run.steps
    known = frame[(frame["batch_size"] > 0) & (frame["micro_steps"] > 0) & (frame["training"] == 1)]
    if not len(known):
        yield Skipped(
            reason="the batch size is not known, or the model is not in training mode",
            enable="use a torch.nn.functional loss, whose input tells the size of the batch",
        )
        return
    size = median((known["batch_size"] / known["micro_steps"]).to_numpy(dtype=float))
    size *= run.meta.world_size if any(module.module_class == "SyncBatchNorm" for module in norms) else 1
    if size >= limits.values:
        yield LargeBatch(examples=size, layers=len(norms))
        return
    behind = tuple(name for module in norms if (name := module.name) and _values_are_examples(run, name))
    if not behind:
        yield PositionsUnknown(size)
        return
    steps = known["global_step"]
    yield SmallBatch(
        examples=size,
        layers=behind,
        very_few=size < limits.few,
        span=Span(first=int(steps.iloc[0]), last=int(steps.iloc[-1])),
    )


def _values_are_examples(run: Run, module: str) -> bool:
    """Whether a BatchNorm1d follows a linear layer and is trained, so that each example is one value a channel."""
    facts = next(facts for facts in run.meta.modules if facts.name == module)
    own = [tensor for tensor in run.meta.tensors if tensor.module == module]
    if facts.module_class not in ("BatchNorm1d", "SyncBatchNorm") or not own or _is_frozen(run, own[0]):
        return False
    before = [t for t in run.meta.tensors if t.depth < own[0].depth and t.role == "weight"]
    last = max(before, key=lambda tensor: tensor.depth, default=None)
    return last is not None and last.module_class.endswith("Linear")


def _is_frozen(run: Run, tensor: TensorFacts) -> bool:
    training = run.training(tensor.recorded_with)
    column = [t.id for t in training.tensors].index(tensor.id)
    still = unchanged(training)
    return not tensor.requires_grad or bool(still[column])


@small_batch_normalization.tell
def _clean(found: LargeBatch) -> Clean:
    return Clean(
        measured=f"{plural(found.layers, 'layer')} of batch normalisation, and {count(found.examples)} examples in a "
        "forward pass"
    )


@small_batch_normalization.tell
def _skipped(found: PositionsUnknown, limits: Limits) -> Skipped:
    size = count(found.examples)
    return Skipped(
        reason=f"a forward pass has {size} examples, and how many positions each brings is not recorded",
        enable=f"multiply height, width and {size} by hand: at least {setting(limits.values)} values per channel",
    )


@small_batch_normalization.tell
def _finding(found: SmallBatch, run: Run, limits: Limits) -> Finding:
    size, called = count(found.examples), names([layer(run, name) for name in found.layers])
    return Finding(
        severity=Severity.WARNING if found.very_few else Severity.NOTE,
        confidence=Confidence.HIGH,
        title="Batch norm over too few examples",
        headline=f"Batch norm computes mean and variance from {size} values per channel, in "
        + plural(len(found.layers), "layer"),
        explanation=f"A forward pass has {size} examples. Behind a linear layer each example is one value per "
        f"channel, so the statistics of {called} come from {size} numbers.",
        span=found.span,
        evidence=[loss_chart(run.trainings[0], "The training loss; small batches make it noisy.", [])],
        actions=[
            Action(
                text=f"Replace {called} with a normalisation that does not depend on the batch",
                code="nn.LayerNorm(width)",
            ),
            Action(text=f"Or use a batch of {setting(2 * limits.values)} or more"),
        ],
        measures=[
            Measure(quantity="values per channel", value=found.examples, comparison="<", threshold=limits.values,
                    unit="count", option="values"),
            Measure(quantity="values per channel", value=found.examples, comparison="<", threshold=limits.few,
                    unit="count", option="few", decides="warning"),
        ],
    )  # fmt: skip
