"""Which evaluation split is the validation one, and its losses over the steps."""

import math
from itertools import pairwise

import msgspec
import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.order_statistics import Floats, Integers
from gradaudit.training import signal

HELD_OUT = ("validation", "val", "valid", "dev", "eval", "test")  # in order of preference
_TRAIN = ("train", "training")
_REBOUND = 4  # evaluations, at least, that tell a rebound
UNKNOWN = "unknown"  # several sets of data that the recorder could not tell apart


class Evaluations(msgspec.Struct, frozen=True, eq=False):
    """The losses of one split, one entry a pass."""

    split: str
    steps: Integers  # global step of the last training step before the pass; -1 before the first
    losses: Floats
    training: bool  # the model was in training mode

    @property
    def name(self) -> str:
        """What reports call it: validation, but for a test set that stands in for one."""
        return "test" if self.split.lower() == "test" else "validation"


class NoValidationLoss(msgspec.Struct, frozen=True):
    """Which evaluations are on validation data is not clear, or there are none."""


@signal
def validation(run: Run) -> Evaluations | None:
    """The validation split: named so, else the only split that is not named as training; None when that is unclear.

    A last evaluation of test data, or a first one before the training, is no second curve beside one that goes along
    with the training.
    """
    splits = _along(run, [split for split in splits_of(run) if split.lower() not in _TRAIN])
    by_name = {split.lower(): split for split in reversed(splits)}
    for name in HELD_OUT:
        if name in by_name:
            return _of(run, by_name[name])
    return _of(run, splits[0]) if len(splits) == 1 and splits[0] != UNKNOWN else None


def splits_of(run: Run) -> list[str]:
    """The names of the splits that were evaluated."""
    return [str(split) for split in run.evaluations["split"].dropna().unique()]


def _along(run: Run, splits: list[str]) -> list[str]:
    """The splits that were evaluated several times and while a training went on; all, where none was."""
    after = run.evaluations.groupby("split", sort=False)["after_step"]
    steps = run.steps.groupby("optimizer")["global_step"]
    ends = {*steps.max().tolist(), *(steps.min() - 1).tolist()}
    found = [split for split in splits if len(of := after.get_group(split)) > 1 and not set(of.tolist()) <= ends]
    return found or splits


@signal
def training_evaluation(run: Run) -> Evaluations | None:
    """The loss of training data as an evaluation pass saw it, in evaluation mode; None when there is no such split."""
    for split in splits_of(run):
        if split.lower() in _TRAIN:
            found = _of(run, split)
            return None if found.training else found
    return None


def _longest_training(run: Run, evaluated: Integers) -> tuple[int, int]:
    """The global steps (first, last) of the training with the most evaluations, when a script makes several in turn.

    The folds of a cross-validation start anew, each with its own optimizer; one curve through all of them
    would rise at every start. Everything, when the optimizers do not follow each other.
    """
    spans = sorted((int(steps.min()), int(steps.max())) for _, steps in run.steps.groupby("optimizer")["global_step"])
    in_turn = all(before[1] < after[0] for before, after in pairwise(spans))
    end = int(numpy.iinfo(numpy.int64).max)
    if len(spans) < 2 or not in_turn:
        return -1, end
    spans = [(-1, spans[0][1]), *spans[1:-1], (spans[-1][0], end)]
    return max(spans, key=lambda span: int(((evaluated >= span[0]) & (evaluated <= span[1])).sum()))


def _of(run: Run, split: str) -> Evaluations:
    frame = run.evaluations
    frame = frame[frame["split"] == split].sort_values("pass")
    first, last = _longest_training(run, frame["after_step"].to_numpy())
    frame = frame[(frame["after_step"] >= first) & (frame["after_step"] <= last)]
    # A pass that saw no valid target has no loss.
    frame = frame[~((frame["targets"] == 0) & frame["mean_loss"].isna())]
    return Evaluations(
        split=split,
        steps=frame["after_step"].to_numpy(dtype=numpy.int64),
        losses=frame["mean_loss"].to_numpy(dtype=float),
        training=bool((frame["training"] == 1).mean() > 0.5) if len(frame) else False,
    )


def validation_rebound(run: Run) -> float:
    """The share of its improvement that the validation loss has lost at the end; NaN where it is not known."""
    held_out = validation(run)
    values = held_out.losses[numpy.isfinite(held_out.losses)] if held_out is not None else numpy.zeros(0)
    if len(values) < _REBOUND or not values[0] > values.min():
        return math.nan
    return float((numpy.median(values[-2:]) - values.min()) / (values[0] - values.min()))
