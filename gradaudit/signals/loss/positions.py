"""The loss at the positions of a sequence at the end of a training, in training and in evaluation."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy

from gradaudit.reading.run import Run
from gradaudit.schema.outputs import POSITIONS, PositionFacts, PositionPart
from gradaudit.signals.order_statistics import Floats, Integers

_LAST = 4  # the end is the last so many parts, of 9 to 16 in a long training


@dataclass(frozen=True, eq=False)
class Profile:
    """Over the last quarter of the calls, or some more; NaN where nothing was looked at."""

    losses: Floats  # [POSITIONS] in nats
    targets: Integers  # [POSITIONS] looked at
    entropy: Floats  # [POSITIONS] of the targets, in nats, at the least

    @property
    def last(self) -> float:
        """The loss of the last position."""
        return float(self.losses[-1])

    @property
    def others(self) -> float:
        """The largest loss of the other positions."""
        return float(self.losses[:-1].max())


@dataclass(frozen=True, eq=False)
class SequenceLoss:
    """A loss over sequences along one axis of its targets."""

    facts: PositionFacts
    training: Profile
    evaluation: Profile | None  # None where none of it was seen

    @property
    def places(self) -> Floats:
        """[POSITIONS] of a whole sequence, counted from 1."""
        length = self.facts.length
        sixths = numpy.arange(POSITIONS - 2) * (length - 1) // (POSITIONS - 2)
        return numpy.array([*(sixths + 1), length - 1, length], dtype=float)


def sequence_losses(run: Run) -> Iterator[SequenceLoss]:
    """Each loss over sequences that was trained with, along each axis that may be that of the positions."""
    known = run.meta.outputs.positions
    for facts in known:
        training = _profile(facts.training)
        if training is None:
            continue
        # The loss of an evaluation may be one with another reduction.
        others = [one for one in known if (one.classes, one.time_axis) == (facts.classes, facts.time_axis)]
        evaluations = [_profile(one.evaluation) for one in sorted(others, key=lambda one: one.loss != facts.loss)]
        yield SequenceLoss(facts, training, next((one for one in evaluations if one is not None), None))


def _profile(parts: Sequence[PositionPart]) -> Profile | None:
    whole = [part for part in parts if len(part.losses) == len(part.targets) == len(part.entropy) == POSITIONS]
    some = whole[-_LAST:]
    if not some:
        return None
    losses, entropy = (
        numpy.array([[math.nan if value is None else value for value in row] for row in rows])
        for rows in ([part.losses for part in some], [part.entropy for part in some])
    )
    targets = numpy.array([part.targets for part in some])
    if not targets.any():
        return None
    with numpy.errstate(invalid="ignore"):
        shares = targets / targets.sum(axis=0)
        return Profile(
            numpy.where(targets > 0, losses * shares, 0.0).sum(axis=0) / (targets.sum(axis=0) > 0),
            targets.sum(axis=0),
            numpy.where(targets > 0, entropy * shares, 0.0).sum(axis=0),
        )
