"""The workers of a DataLoader repeat each other: each yields the same examples.

## What it looks for

The batches that the workers of the training's `DataLoader` yield in one round, compared by hashes of their examples.
Where in `share` of the rounds all workers yield the same batch, each example is seen once for each worker: a warning.

A data set that holds a random generator is noted where several workers copy it and no `worker_init_fn` tells them
apart: what it draws is the same in each worker, and in each epoch where the workers are started anew. It is a warning
where the first examples of every epoch are the same bit for bit, in `epochs` comparisons or more.

## Why it matters

An iterable data set is copied to each worker, and each goes through all of it. Random numbers of a generator that
was made before the workers are the same in all of them. In both ways an epoch holds less than it seems to.

## What to try

Share an iterable data set out by `torch.utils.data.get_worker_info()`, or make one worker of several. Make generators
of random numbers inside the workers, from `worker_info.seed`.

## When it is wrong

Where the data set has one example only, or repeats itself on purpose.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema.loaders import LoaderFacts
from gradaudit.signals.data.sources import last_step, training_sources


@dataclass(frozen=True)
class Limits:
    """When rounds and epochs are equal by no accident."""

    share: float = 0.9  # of the rounds; equal batches are no chance, and one example may differ now and then
    epochs: float = 2.0  # comparisons; a run of two epochs makes one


class Repeated(Judged, frozen=True):
    """All workers yield the same batches, nearly always."""

    source: LoaderFacts
    last_step: int


class Copied(Judged, frozen=True):
    """Each worker has a copy of a generator of random numbers."""

    source: LoaderFacts
    equal: bool  # every epoch begins with the same examples
    last_step: int


class Different(Judged, frozen=True):
    """The workers yield different batches."""

    workers: int
    rounds: int
    same: int  # of them, with the same batch


class OneProcess(Judged, frozen=True):
    """No loader of the training has several workers."""


@diagnoser(worst=Severity.WARNING, explains=("overfitting", "no_signal"))
def repeated_augmentation(run: Run, limits: Limits) -> Iterator[Repeated | Copied | Different | OneProcess | Skipped]:
    """Compare what workers yield in one round."""
    if not run.meta.loaders:
        yield Skipped(reason="what batches hold was not recorded",
                      enable="record again with this version, without --no-data")  # fmt: skip
        return
    several = [source for source in training_sources(run) if source.workers > 1]
    if not several:
        yield OneProcess()
        return
    source = max(several, key=lambda one: (_repeats(one, limits), one.random_states))
    if _repeats(source, limits):
        yield Repeated(source, last_step(run))
    elif source.random_states and not source.worker_init:
        equal = source.orders >= limits.epochs and source.same_order == source.orders
        yield Copied(source, equal, last_step(run))
    elif source.rounds:
        yield Different(source.workers, source.rounds, source.same_batches)
    else:
        yield Skipped(reason="no two batches of different workers were compared",
                      enable="train for as many batches as there are workers, on tensors on the CPU")  # fmt: skip


def _repeats(source: LoaderFacts, limits: Limits) -> bool:
    return source.rounds > 0 and source.same_batches >= limits.share * source.rounds


@repeated_augmentation.tell
def _one(found: OneProcess) -> NotApplicable:
    return NotApplicable(reason="no DataLoader of the training has several workers")


@repeated_augmentation.tell
def _different(found: Different) -> Clean:
    return Clean(
        measured=f"{count(found.workers)} workers, {count(found.same)} of {plural(found.rounds, 'round')} with the "
        "same batch"
    )


@repeated_augmentation.tell
def _repeated(found: Repeated, limits: Limits) -> Finding:
    source = found.source
    workers = count(source.workers)
    if source.iterable:
        why = "The data set is iterable, so that each worker has a copy of it and goes through all of it."
        fix = Action(
            text=f"Let each of the {workers} workers take its own part in __iter__",
            code="info = torch.utils.data.get_worker_info()\n"
            "yield from itertools.islice(self.data, info.id, None, info.num_workers)",
        )
    else:
        why = "The examples are drawn from random numbers that are the same in each worker."
        fix = _generators(source)
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.CERTAIN,
        title="Workers repeat the same examples",
        headline=f"Each of the {workers} workers of the DataLoader yields the same examples, in "
        f"{count(source.same_batches)} of {plural(source.rounds, 'round')}",
        explanation=f"{why} Each example is trained on {workers} times in a row, and an epoch holds a part of what it "
        "seems to hold.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(source)],
        actions=[fix],
        measures=[
            Measure(quantity="rounds with the same batch", value=source.same_batches / source.rounds, comparison=">=",
                    threshold=limits.share, unit="fraction", option="share"),
        ],
    )  # fmt: skip


@repeated_augmentation.tell
def _copied(found: Copied, limits: Limits) -> Finding:
    source = found.source
    return Finding(
        severity=Severity.WARNING if found.equal else Severity.NOTE,
        confidence=Confidence.HIGH if found.equal else Confidence.MEDIUM,
        title="Random numbers repeat in each epoch" if found.equal else "Copied random generator",
        headline=f"All {count(source.orders)} epochs compared begin with equal examples: {count(source.workers)} "
        "workers copy one generator"
        if found.equal
        else f"The data set holds a random generator, and each of its {count(source.workers)} workers has a copy",
        explanation="The generator was made before the workers, so that all of them draw the same numbers from it; "
        "augmentation by it is the same in each worker. Nothing is wrong where the data set draws nothing from it "
        "while it is gone over.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(source)],
        actions=[_generators(source)],
        measures=[
            Measure(quantity="workers with a copy", value=source.workers, comparison=">", threshold=1, unit="count"),
            Measure(quantity="epochs compared, all equal", value=source.orders if found.equal else 0, comparison=">=",
                    threshold=limits.epochs, unit="count", option="epochs", decides="warning"),
        ],
    )  # fmt: skip


def _generators(source: LoaderFacts) -> Action:
    return Action(
        text=f"Make the generator anew in each of the {count(source.workers)} workers",
        code="def worker_init_fn(worker_id):\n"
        "    info = torch.utils.data.get_worker_info()\n"
        "    info.dataset.random = numpy.random.default_rng(info.seed)",
    )


def _table(source: LoaderFacts) -> Numbers:
    return Numbers(
        title="The workers of the training's DataLoader",
        caption="A round is one batch of each worker, compared by hashes that are not kept.",
        columns=["", "number"],
        cells=[
            ["workers", count(source.workers)],
            ["rounds compared", count(source.rounds)],
            ["rounds with the same batch from all", count(source.same_batches)],
            ["random generators that the data set holds", count(source.random_states)],
            ["worker_init_fn", "given" if source.worker_init else "none"],
        ],
    )
