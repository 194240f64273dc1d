"""Batch normalisation estimates mean and variance from too few examples.

## What it looks for

The number of examples in one forward pass, for models with BatchNorm in training mode. Behind a linear layer
BatchNorm1d has one value per channel for each example: fewer than `values` is a note, fewer than `few` a warning.
Behind a convolution each example brings as many values as it has positions. These are not recorded, so there it can
only say that a batch of `values` or more is large enough, and that one example at a time is normalised by itself: a
warning where evaluation, by running statistics, ends worse than training by `lost` of what training gained.

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

import math
from collections.abc import Iterator

import msgspec

from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.charts.lines import loss_chart
from gradaudit.evidence.words.module_names import layer
from gradaudit.evidence.words.wording import count, names, number, plural, setting
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema import TensorFacts
from gradaudit.signals.evaluation.validation import validation
from gradaudit.signals.layers.unchanged import unchanged
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import median


class Limits(msgspec.Struct, frozen=True):
    """From how few values on a mean and a variance are mostly chance."""

    values: float = 16  # a channel; the relative error of a variance of 16 values is 35 %
    few: float = 5  # the faulty runs had 4 or fewer
    lost: float = 0.5  # of what training gained; batches of one in the field's faulty run lose twice of it


class SmallBatch(Judged, frozen=True):
    """Batch norm behind linear layers computes its statistics from one value for each of few examples."""

    examples: float  # in a forward pass, median
    layers: tuple[str, ...]  # names of the batch norm modules of which each example is one value a channel
    very_few: bool  # fewer than `few`
    span: Span


class OneExample(Judged, frozen=True):
    """Every forward pass has one example, which batch norm normalises by itself, and evaluation uses averages."""

    layers: tuple[str, ...]  # names of the batch norm modules
    training: float  # loss at the end
    validation: float  # loss at the end, in evaluation mode; NaN where there is none
    lost: float  # what evaluation is worse by, over what training gained; NaN where that is not known
    bad: bool
    span: Span


class LargeBatch(Judged, frozen=True):
    """A forward pass has examples enough, whatever is in front of batch norm."""

    examples: float  # in a forward pass, median
    layers: int  # of batch normalisation


class PositionsUnknown(Judged, frozen=True):
    """Few examples, of which each brings as many values as it has positions: how many is not recorded."""

    examples: float  # in a forward pass, median


@diagnoser(
    worst=Severity.WARNING,
    needs=("steps.batch_size",),
    minimum_steps=5,
    explains=("overfitting", "no_signal"),
)
def small_batch_normalization(
    run: Run, limits: Limits
) -> Iterator[SmallBatch | OneExample | LargeBatch | PositionsUnknown | NotApplicable | Skipped]:
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
    span = Span(first=int(known["global_step"].iloc[0]), last=int(known["global_step"].iloc[-1]))
    trained = tuple(norm.name for norm in run.meta.model_state.norms if norm.training and norm.moved)
    if size <= 1 and trained:
        yield _one_example(run, trained, span, limits)
        return
    behind = tuple(name for module in norms if (name := module.name) and _values_are_examples(run, name))
    if not behind:
        yield PositionsUnknown(size)
        return
    yield SmallBatch(
        examples=size,
        layers=behind,
        very_few=size < limits.few,
        span=span,
    )


def _one_example(run: Run, layers: tuple[str, ...], span: Span, limits: Limits) -> OneExample:
    held_out = validation(run)
    losses = [training_loss(training) for training in run.trainings]
    first, last = losses[0].first, losses[0].last
    evaluated = held_out is not None and bool((run.evaluations["training"] == 0).all())
    final = median(held_out.losses[-3:]) if held_out is not None and evaluated else math.nan
    lost = (final - last) / (first - last) if first > last else math.nan
    return OneExample(layers, last, final, lost, bad=lost >= limits.lost, span=span)


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
def _one(found: OneExample, run: Run, limits: Limits) -> Finding:
    called = names([layer(run, name) for name in found.layers], 4)
    ends = (
        f" The loss ends at {number(found.training)} in training and at {number(found.validation)} in evaluation."
        if math.isfinite(found.validation)
        else ""
    )
    return Finding(
        severity=Severity.WARNING if found.bad else Severity.NOTE,
        confidence=Confidence.HIGH if found.bad else Confidence.CERTAIN,
        title="Batch norm over one example",
        headline=f"Batches of 1: batch norm normalises each example by itself, in {plural(len(found.layers), 'layer')}",
        explanation=f"In training the mean and the variance of {called} are those of one example over its positions. "
        f"In evaluation they are averages over many examples, which fit none of them.{ends}",
        span=found.span,
        evidence=[loss_chart(run.trainings[0], "The training loss, each step on one example.", [])],
        actions=[
            Action(
                text=f"Replace {called} with a normalisation that does the same in training and evaluation",
                code="nn.GroupNorm(4, channels)",
            ),
            Action(text=f"Or use a batch of {setting(limits.values)} or more, padded to one size"),
        ],
        measures=[
            Measure(quantity="examples in a forward pass", value=1, comparison="<=", threshold=1, unit="count"),
            Measure(quantity="what evaluation is worse by / what training gained", value=found.lost, comparison=">=",
                    threshold=limits.lost, option="lost", decides="warning"),
        ],
        caused=["overfitting", "no_signal"] if found.bad else [],
    )  # fmt: skip


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
        caused=[],
    )  # fmt: skip
