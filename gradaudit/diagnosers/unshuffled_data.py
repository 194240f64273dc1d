"""The training data is not shuffled: each batch holds one part of it.

## What it looks for

The classes among the labels of single training batches. Where the batches hold fewer than `share` of the different
classes that batches drawn at random would hold, the data is in the order of its classes. It takes at least `batches`
batches that were looked at, and three epochs for the second thing it notes: a `DataLoader` that starts each epoch
with the same examples in the same order.

Few classes a batch are a warning where a torch SequentialSampler gave the order, and a note where the script or an
iterable data set makes it. The same order in each epoch alone is a note.

## Why it matters

Each step follows the gradient of one or two classes and undoes what the steps before it learned of the others.
Batch normalisation makes it worse: it normalises over one class in training, and over all of them in evaluation.

## What to try

`shuffle=True` in the training's `DataLoader`. An iterable data set needs a shuffle buffer, or its files mixed.

## When it is wrong

Where few classes a batch are meant, such as in a curriculum or in learning one task after another. A sampler of the
script's own is taken as meant.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, number, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema.loaders import LoaderFacts
from gradaudit.signals.data.sources import last_step, training_sources

_EPOCHS = 3  # the same order of two might be a resumed epoch
_BATCHES = 4  # in an epoch: of fewer each step sees most of the data, in whatever order
_OWN_ORDER = ("SequentialSampler", "DistributedSampler", "")  # samplers that keep the order of the data, or none
_DRIVEN = ("no_learning", "no_signal", "overfitting", "unstable_loss", "loss_spike", "premature_plateau",
           "validation_better_than_train", "gradient_growth", "divergence", "learning_rate_too_high")  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """From where on batches are those of sorted data."""

    share: float = 0.6  # of the classes: two sorted classes have 0.5, and batches drawn at random 0.95 or more
    batches: float = 8.0  # fewer may hold few classes by chance, or be the first ones of a run that has just begun


class FewClasses(Judged, frozen=True):
    """The batches hold few classes."""

    source: LoaderFacts
    share: float
    batch: float  # labels
    meant: bool  # it may be
    last_step: int


class SameOrder(Judged, frozen=True):
    """Each epoch begins with the same examples in the same order."""

    source: LoaderFacts
    epochs: int
    last_step: int


class Mixed(Judged, frozen=True):
    """The batches hold as many classes as shuffled ones."""

    distinct: float
    shuffled: float
    batches: int


class NoLabels(Judged, frozen=True):
    """No batch had one label for each example."""


@diagnoser(worst=Severity.WARNING, explains=_DRIVEN)
def unshuffled_data(
    run: Run, limits: Limits
) -> Iterator[FewClasses | SameOrder | Mixed | NoLabels | Skipped | NotApplicable]:
    """Compare the classes in a batch with those of a shuffled one, and the order of each epoch with the one before."""
    if not run.meta.loaders:
        yield Skipped(reason="what batches hold was not recorded",
                      enable="record again with this version, without --no-data")  # fmt: skip
        return
    found = False
    mixed: Mixed | NoLabels = NoLabels()
    for source in training_sources(run):
        few = _few_classes(source, limits)
        if few:
            found = True
            share = source.distinct / source.shuffled_distinct
            meant = not source.loader or source.iterable
            yield FewClasses(source, share, source.labels_in_batch, meant, last_step(run))
        elif _same_order(source):
            found = True
            yield SameOrder(source, source.orders + 1, last_step(run))
        elif source.label_batches:
            mixed = Mixed(source.distinct, source.shuffled_distinct, source.label_batches)
    if not found:
        yield mixed


def _few_classes(source: LoaderFacts, limits: Limits) -> bool:
    enough = source.label_batches >= limits.batches and source.classes > 1 and source.shuffled_distinct > 1
    in_order = not source.loader or source.iterable or source.sampler in _OWN_ORDER
    return enough and in_order and source.distinct < limits.share * source.shuffled_distinct


def _same_order(source: LoaderFacts) -> bool:
    batches = source.batches / max(1, source.passes)
    always = source.orders >= _EPOCHS - 1 and source.same_order == source.orders
    return always and source.sequential and batches >= _BATCHES


@unshuffled_data.tell
def _no_labels(found: NoLabels) -> NotApplicable:
    return NotApplicable(reason="no training batch with one class label for each example was seen")


@unshuffled_data.tell
def _mixed(found: Mixed) -> Clean:
    return Clean(
        measured=f"{number(found.distinct)} classes in a batch, {number(found.shuffled)} in one drawn at random, "
        f"over {plural(found.batches, 'batch', 'batches')}"
    )


@unshuffled_data.tell
def _few(found: FewClasses, limits: Limits) -> Finding:
    source = found.source
    return Finding(
        severity=Severity.NOTE if found.meant else Severity.WARNING,
        confidence=Confidence.HIGH if found.meant else Confidence.CERTAIN,
        title="Unshuffled training data",
        headline=f"A training batch holds {number(source.distinct, 2)} of {count(source.classes)} classes; a shuffled "
        f"one would hold {number(source.shuffled_distinct, 2)}",
        explanation="The training data comes in the order of its classes. Each step follows the gradient of the "
        "classes in its batch, and the next ones undo what it learned. Batch normalisation then sees other statistics "
        "in training than in evaluation.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(source)],
        actions=[_shuffled(source), _sorted_beforehand()],
        measures=[
            Measure(quantity="classes in a batch / in a shuffled one", value=found.share, comparison="<",
                    threshold=limits.share, unit="fraction", option="share"),
            Measure(quantity="batches looked at", value=source.label_batches, comparison=">=",
                    threshold=limits.batches, unit="count", option="batches"),
        ],
    )  # fmt: skip


@unshuffled_data.tell
def _order(found: SameOrder) -> Finding:
    source = found.source
    return Finding(
        severity=Severity.NOTE,
        confidence=Confidence.CERTAIN,
        title="Same order in each epoch",
        headline=f"All {count(found.epochs)} epochs compared begin with the same examples in the same order",
        explanation="The loader goes through the training data in the order in which it is stored. The classes are "
        "mixed, so that it does little harm; but the same examples share a batch in each epoch, and the last ones "
        "always have the last word.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(source)],
        actions=[_shuffled(source)],
        measures=[
            Measure(quantity="epochs in the same order", value=source.same_order + 1, comparison=">=",
                    threshold=_EPOCHS, unit="count"),
        ],
    )  # fmt: skip


def _shuffled(source: LoaderFacts) -> Action:
    if source.iterable:
        return Action(text="Shuffle what the iterable data set yields, through a buffer of 1,000 examples or more")
    if not source.loader:
        return Action(
            text="Draw the examples of each epoch in a random order of their own",
            code="for batch in torch.randperm(len(data)).split(batch_size):",
        )
    if source.sampler == "DistributedSampler":
        return Action(text="Let the sampler shuffle, and call its set_epoch in each epoch",
                      code="DistributedSampler(dataset, shuffle=True)")  # fmt: skip
    size = f"batch_size={count(source.batch_size)}, " if source.batch_size else ""
    return Action(text="Set shuffle=True in the DataLoader of the training data",
                  code=f"DataLoader(train_data, {size}shuffle=True)")  # fmt: skip


def _sorted_beforehand() -> Action:
    return Action(text="Shuffle before data is split or cut to its first examples, too, which are of the first classes")


def _table(source: LoaderFacts) -> Numbers:
    rows = [
        ["sampler", source.sampler or ("iterable data set" if source.iterable else "the script's own batches")],
        ["batches looked at", count(source.label_batches)],
        ["examples in a batch, mean", number(source.labels_in_batch)],
        ["classes in the training", count(source.classes)],
        ["classes in a batch, mean", number(source.distinct)],
        ["classes in a batch drawn at random, mean", number(source.shuffled_distinct)],
        ["epochs that begin as the one before", f"{count(source.same_order)} of {count(source.orders)}"],
    ]
    return Numbers(
        title="The batches of the training",
        caption="Counts over the batches that were looked at, the first ones and ever fewer of the later.",
        columns=["", "number"],
        cells=rows,
    )
