"""The inputs of the evaluation are scaled otherwise than those of the training, or their channels are swapped.

## What it looks for

Mean and spread of each floating tensor that a `DataLoader` yields, in evaluation beside the training just before it.
It is a warning where one is the other, scaled and shifted: skewness and kurtosis agree, and the spread differs by a
factor of `scale` or the mean by `shift` standard deviations, more than examples drawn anew would.

The channels of images are compared one by one. It is a warning, too, where they do not fit as they are and fit in
another order: by mean and spread, or by skewness and kurtosis, which no normalisation changes.

Where the form differs, too, it is a note from a factor of `other_form` on: it may be augmentation.

## Why it matters

The model is asked about numbers that it has not seen. Its evaluation says nothing about how well it has learned, looks
like overfitting, and picks the wrong checkpoint.

## What to try

Use one transform for both: the same mean, standard deviation and range, worked out on the training data. Read images
with one function: OpenCV yields blue first, PIL and torchvision red.

## When it is wrong

Where the training's inputs are scaled at random on purpose, or the evaluation is meant to be of other data. What a
script does to a batch after the loader is not seen.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gradaudit.chart_data import Numbers
from gradaudit.diagnoser import Judged, diagnoser
from gradaudit.evidence.words.wording import factor, number, plural
from gradaudit.findings import Action, Clean, Confidence, Finding, Measure, NotApplicable, Severity, Skipped, Span
from gradaudit.reading.run import Run
from gradaudit.schema.loaders import InputFacts
from gradaudit.signals.data.channels import Swap, channel_pairs, swap
from gradaudit.signals.data.sources import Pair, evaluation_sources, input_pairs, last_step

_LONGEST = 20  # characters of a place in a headline
_DRIVEN = ("overfitting", "no_signal", "validation_better_than_train", "train_mode_evaluation")


@dataclass(frozen=True)
class Limits:
    """From where on inputs are scaled otherwise."""

    scale: float = 1.5  # factor between the spreads: random crops, flips and colours of torchvision change it by 1.2
    shift: float = 0.5  # standard deviations between the means: the same augmentations move them by 0.3 at most
    other_form: float = 3.0  # factor between the spreads where the form differs: noise added on purpose may double it


class Shifted(Judged, frozen=True):
    """A tensor is distributed otherwise in evaluation."""

    pair: Pair
    scale: float  # spread in evaluation over that in training
    shift: float
    last_step: int


class Swapped(Judged, frozen=True):
    """The channels of images are in another order in evaluation."""

    pair: Pair
    swap: Swap
    last_step: int


class Alike(Judged, frozen=True):
    """All are distributed alike."""

    tensors: int
    scale: float  # the one that is farthest from 1
    shift: float


class NothingToCompare(Judged, frozen=True):
    """No floating tensor was seen in both."""


@diagnoser(worst=Severity.WARNING, explains=_DRIVEN)
def input_shift(run: Run, limits: Limits) -> Iterator[Shifted | Swapped | Alike | NothingToCompare | Skipped]:
    """Compare the inputs of evaluation and training."""
    if not run.meta.loaders:
        yield Skipped(reason="what batches hold was not recorded",
                      enable="record again with this version, without --no-data")  # fmt: skip
        return
    pairs = [pair for source in evaluation_sources(run) for pair in input_pairs(run, source)]
    pairs = [pair for pair in pairs if math.isfinite(pair.scale) and math.isfinite(pair.shift)]
    if not pairs:
        yield NothingToCompare()
        return
    for pair in pairs:
        order = swap(pair)
        if order is not None:
            yield Swapped(pair, order, last_step(run))
            return
    # Channels that are normalised one by one change the form of the whole.
    pairs += [one for pair in pairs if not pair.same_form for one in _channels(pair)]
    shifted = [pair for pair in pairs if _is_shifted(pair, limits)]
    if not shifted:
        widest = max(pairs, key=_distance)
        yield Alike(len(pairs), widest.scale, max(pair.shift for pair in pairs))
        return
    worst = max(shifted, key=lambda pair: (pair.same_form, _distance(pair)))
    yield Shifted(worst, worst.scale, worst.shift, last_step(run))


def _channels(pair: Pair) -> list[Pair]:
    found = channel_pairs(pair)
    known = all(math.isfinite(one.scale) and math.isfinite(one.shift) for one in found)
    return found if known and all(one.same_form for one in found) else []


def _distance(pair: Pair) -> float:
    return max(abs(math.log(pair.scale)), pair.shift)


def _is_shifted(pair: Pair, limits: Limits) -> bool:
    if not pair.beyond_chance:
        return False
    scale = max(pair.scale, 1 / pair.scale)
    if pair.same_form:
        return scale >= limits.scale or pair.shift >= limits.shift
    return scale >= limits.other_form


@input_shift.tell
def _nothing(found: NothingToCompare) -> NotApplicable:
    return NotApplicable(reason="no DataLoader yielded a floating tensor both in training and in evaluation")


@input_shift.tell
def _alike(found: Alike) -> Clean:
    return Clean(
        measured=f"{plural(found.tensors, 'input')}: spread in evaluation {number(found.scale)} times that in "
        f"training, means {number(found.shift)} standard deviations apart"
    )


@input_shift.tell
def _shifted(found: Shifted, limits: Limits) -> Finding:
    ours, theirs = found.pair
    same = found.pair.same_form
    said = "Inputs have" if ours.place in ("0", "") or len(ours.place) > _LONGEST else f"Input {ours.place} has"
    return Finding(
        severity=Severity.WARNING if same else Severity.NOTE,
        confidence=Confidence.CERTAIN if same else Confidence.MEDIUM,
        is_measurement_issue=True,
        title="Inputs scaled otherwise in evaluation",
        headline=f"{said} {_moments(ours)} in training, and {_moments(theirs)} in evaluation",
        explanation="Both have the same form, so that they are the same kind of data after two transforms: the spread "
        f"of the evaluation's is {factor(found.scale)} times that of the training's, and the means are "
        f"{number(found.shift)} standard deviations apart. The model is evaluated on numbers it was not trained on."
        if same
        else "The evaluation's inputs have another spread, and another form, too. Augmentation on purpose may do this, "
        "and so may other data.",
        span=Span(first=0, last=found.last_step),
        evidence=[_table(ours, theirs)],
        actions=_actions(ours),
        measures=_measures(found, limits),
    )


@input_shift.tell
def _swapped(found: Swapped) -> Finding:
    order = ", ".join(str(number) for number in found.swap.order)
    what = "skewness and kurtosis" if found.swap.by_form else "mean and spread"
    return Finding(
        severity=Severity.WARNING,
        confidence=Confidence.HIGH if found.swap.by_form else Confidence.CERTAIN,
        is_measurement_issue=True,
        title="Channels swapped in evaluation",
        headline=f"The evaluation's channels are the training's in the order {order}: {number(found.swap.left)} apart "
        f"so, {number(found.swap.apart)} as they are",
        explanation=f"Channel by channel, {what} of evaluation and training do not fit, and they do in that order: one "
        "of both reads blue first. The model is evaluated on other colours than it was trained on.",
        span=Span(first=0, last=found.last_step),
        evidence=[_channel_table(found)],
        actions=[
            Action(
                text="Read the images of both with the same function, or put the evaluation's channels into the order "
                f"{order} before they are normalised",
                code="image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)",
            ),
            Action(text="Evaluate the saved checkpoints again afterwards: the best one was chosen by wrong numbers"),
        ],
        measures=[
            Measure(quantity="largest distance between channels as they are", value=found.swap.apart, comparison=">",
                    threshold=found.swap.left),
        ],
    )  # fmt: skip


def _measures(found: Shifted, limits: Limits) -> list[Measure]:
    scale = max(found.scale, 1 / found.scale)
    if not found.pair.same_form:
        return [Measure(quantity="factor between the spreads", value=scale, comparison=">=",
                        threshold=limits.other_form, option="other_form")]  # fmt: skip
    return [
        Measure(quantity="factor between the spreads", value=scale, comparison=">=", threshold=limits.scale,
                option="scale", any_of="moments"),
        Measure(quantity="means apart, in standard deviations", value=found.shift, comparison=">=",
                threshold=limits.shift, option="shift", any_of="moments"),
    ]  # fmt: skip


def _moments(facts: InputFacts) -> str:
    mean, std = facts.mean or 0.0, facts.std or 0.0
    return f"mean {number(_mean(mean, std), 2)} and std {number(std, 2)}"


def _mean(mean: float, std: float) -> float:
    """A mean that is small beside the spread is 0: of standardised data a sample gives 3e-4."""
    return mean if abs(mean) > std / 200 else 0.0


def _actions(ours: InputFacts) -> list[Action]:
    return [
        Action(
            text="Give the validation data the transform of the training data, without its random parts: "
            f"{_moments(ours)}",
            code="val_data.transform = train_data.transform",
        ),
        Action(text="Evaluate the saved checkpoints again afterwards: the best one was chosen by wrong numbers"),
    ]


def _table(ours: InputFacts, theirs: InputFacts) -> Numbers:
    names = ("mean", "std", "minimum", "maximum", "skewness", "kurtosis")
    rows = []
    for name in names:
        values = [getattr(one, name) for one in (ours, theirs)]
        rows.append([name, *("unknown" if value is None else number(value) for value in values)])
    return Numbers(
        title="The same input in training and in evaluation",
        caption="Over a sample of the elements of the batches that were looked at.",
        columns=["", "training", "evaluation"],
        cells=rows,
    )


def _channel_table(found: Swapped) -> Numbers:
    ours, theirs = (side.channels for side in found.pair)
    rows = []
    for number_of, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        values = [getattr(one, name) for name in ("mean", "std", "skewness", "kurtosis") for one in (mine, other)]
        rows.append([str(number_of), *("unknown" if value is None else number(value) for value in values)])
    return Numbers(
        title="The channels in training and in evaluation",
        caption="Over a sample of the elements of the batches that were looked at; the second one of each is the "
        "evaluation's.",
        columns=["channel", "mean", "", "std", "", "skewness", "", "kurtosis", ""],
        cells=rows,
    )
