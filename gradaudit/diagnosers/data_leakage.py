"""Examples of the evaluation are in the training data.

## What it looks for

Examples that both the training's and an evaluation's `DataLoader` yield: by the indices of two Subsets of one data
set, else by hashes of up to 4,096 examples of each: those of many different numbers, in which equal ones are copies,
where there are such. A warning, where they make `share` of the evaluation or more and
are more than equal examples within the training data would explain.

An evaluation of the training's own data set, or of as much of it as there is, is taken as meant; and so is one of
training examples beside another evaluation that has none.

## Why it matters

The model has seen the answers. The evaluation is better than it should be, hides overfitting, and chooses the wrong
checkpoint.

## What to try

Split the data once, by example or by whatever examples belong to, before anything is done to it, and remove
duplicates first.

## When it is wrong

Where the evaluation is meant to be of training data. Examples that augmentation changes are not recognised, except by
the indices of Subsets.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import count, number, percent
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema.loaders import LoaderFacts
from gradaudit.signals.data.sources import Overlap, evaluation_sources, last_step, overlap

_FEWEST = 3  # shared examples; fewer are chance
_CHANCE = 5.0  # times as many as equal examples within the training data explain
_WHOLE = 0.98  # of the evaluation, and of the training: it is the training data


@dataclass(frozen=True)
class Limits:
    """From where on an evaluation holds training data."""

    share: float = 0.02  # of the evaluation: public data sets hold up to 1 % of exact duplicates across their splits


class Leaked(Judged, frozen=True):
    """An evaluation holds training examples."""

    source: LoaderFacts
    found: Overlap
    last_step: int


class Separate(Judged, frozen=True):
    """The evaluations hold none, or are of the training data on purpose."""

    examples: int
    shared: int
    of_training: bool  # an evaluation of the training data was seen, too


class OfTraining(Judged, frozen=True):
    """The only evaluations are of the training's own data."""

    evaluations: int


class NothingToCompare(Judged, frozen=True):
    """No DataLoader was gone over in an evaluation."""


@diagnoser(worst=Severity.WARNING, explains=("validation_better_than_train",))
def data_leakage(run: Run, limits: Limits) -> Iterator[Leaked | Separate | OfTraining | NothingToCompare | Skipped]:
    """Look for examples of the training in the evaluation."""
    if not run.meta.loaders:
        yield Skipped(reason="what batches hold was not recorded",
                      enable="record again with this version, without --no-data")  # fmt: skip
        return
    evaluations = evaluation_sources(run)
    compared = [(source, known) for source in evaluations if (known := overlap(run, source)) is not None]
    if not evaluations:
        yield NothingToCompare()
        return
    if not compared:
        own = [source for source in evaluations if _is_the_trainings(run, source)]
        yield (
            OfTraining(len(own))
            if own
            else Skipped(
                reason="no examples of training and evaluation could be compared",
                enable="let a DataLoader yield tensors on the CPU for both",
            )
        )
        return
    leaked = [(source, known) for source, known in compared if _leaks(known, limits)]
    clean = [known for _, known in compared if not _leaks(known, limits)]
    partial = [(source, known) for source, known in leaked if not _of_training(run, source, known, bool(clean))]
    for source, known in partial:
        yield Leaked(source, known, last_step(run))
    if not partial:
        rest = clean or [known for _, known in leaked]
        yield Separate(sum(one.examples for one in rest), sum(one.shared for one in rest), bool(leaked))


def _leaks(known: Overlap, limits: Limits) -> bool:
    return known.shared >= _FEWEST and known.shared > _CHANCE * known.by_chance and known.share >= limits.share


def _of_training(run: Run, source: LoaderFacts, known: Overlap, others: bool) -> bool:
    """Whether an evaluation is of training data on purpose: all of it, or a part beside evaluations without any."""
    if known.share < _WHOLE:
        return False
    other = next(one for one in run.meta.loaders if one.id == source.compared_with)
    whole = source.examples >= _WHOLE * other.examples > 0
    return others or whole


def _is_the_trainings(run: Run, source: LoaderFacts) -> bool:
    return any(one.role == "training" and one.dataset == source.dataset >= 0 for one in run.meta.loaders)


@data_leakage.tell
def _nothing(found: NothingToCompare) -> NotApplicable:
    return NotApplicable(reason="no DataLoader was gone over in an evaluation")


@data_leakage.tell
def _own(found: OfTraining) -> NotApplicable:
    return NotApplicable(reason="the evaluation goes over the data set of the training itself")


@data_leakage.tell
def _separate(found: Separate) -> Clean:
    of_training = "; a further evaluation is of training data alone" if found.of_training and not found.shared else ""
    return Clean(
        measured=f"{count(found.shared)} of {count(found.examples)} evaluated examples are in the training{of_training}"
    )


@data_leakage.tell
def _leaked(found: Leaked, limits: Limits) -> Finding:
    known = found.found
    how = (
        f"{count(known.shared)} of {count(known.examples)} indices of the evaluation's Subset are in the training's"
        if known.exact
        else f"{count(known.shared)} of {count(known.examples)} evaluated examples are equal to an example of the "
        f"training; by chance it would be {number(known.by_chance, 2)}"
    )
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.CERTAIN,
        is_measurement_issue=True,
        title="Training examples in the evaluation",
        headline=f"{percent(known.share)} of the evaluation's examples are in the training data",
        explanation=f"{how}. The model has been trained on these: the evaluation is too good, and hides "
        "overfitting.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(found)],
        actions=_actions(known),
        measures=[
            Measure(quantity="share of the evaluation in the training", value=known.share, comparison=">=",
                    threshold=limits.share, unit="fraction", option="share"),
            Measure(quantity="examples in both", value=known.shared, comparison=">",
                    threshold=_CHANCE * known.by_chance, unit="count"),
        ],
    )  # fmt: skip


def _actions(known: Overlap) -> list[Action]:
    by_index = Action(
        text="Split the indices once, before the loaders are made",
        code="train_data, val_data = torch.utils.data.random_split(data, [0.9, 0.1])",
    )
    if known.exact:
        return [by_index]
    copies = Action(
        text="Remove duplicates before the split; copy rare examples after it, in the training data alone",
        code="data = data.drop_duplicates()",
    )
    return [copies, by_index]


def _table(found: Leaked) -> Numbers:
    known = found.found
    return Numbers(
        title="Examples in training and evaluation",
        caption="Examples are compared by indices, or by hashes that are not kept.",
        columns=["", "examples"],
        cells=[
            ["in the evaluation's data set", count(found.source.examples) if found.source.examples else "unknown"],
            ["compared", count(known.examples)],
            ["of these, in the training", count(known.shared)],
            ["expected by chance", number(known.by_chance, 2)],
        ],
    )
