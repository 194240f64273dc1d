"""The sources of batches of a run: what trains, what evaluates, and how the inputs of both compare."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from gradaudit.reading.run import Run
from gradaudit.schema.loaders import AlignmentFacts, InputFacts, LoaderFacts

FORM = 0.3  # how far skewness, and the logarithm of kurtosis, differ between samples of one distribution at most
_ERRORS = 5.0  # standard errors by which a difference of two samples is no chance
_SHIFTS = (-1, 0, 1, 2)


def training_sources(run: Run) -> list[LoaderFacts]:
    """The sources whose batches a backward followed."""
    return [source for source in run.meta.loaders if source.role == "training"]


def evaluation_sources(run: Run) -> list[LoaderFacts]:
    """The DataLoaders whose batches no backward followed, in a run that trains on others."""
    return [source for source in run.meta.loaders if source.role == "evaluation" and source.loader]


def last_step(run: Run) -> int:
    """The last global step of a run; 0 of one without a step."""
    return max((int(one.steps["global_step"].iloc[-1]) for one in run.trainings if len(one.steps)), default=0)


class Pair(NamedTuple):
    """One tensor of the batches in training and in evaluation."""

    training: InputFacts
    evaluation: InputFacts

    @property
    def scale(self) -> float:
        """The spread in evaluation over that in training; NaN where one is unknown or 0."""
        one, other = self.training.std, self.evaluation.std
        return other / one if one and other else math.nan

    @property
    def shift(self) -> float:
        """How far the means are apart, in standard deviations of the training; NaN where unknown."""
        one, other, std = self.training.mean, self.evaluation.mean, self.training.std
        return abs(other - one) / std if std and one is not None and other is not None else math.nan

    @property
    def same_form(self) -> bool:
        """Whether one is the other, scaled and shifted: such have one skewness and one kurtosis."""
        ours, theirs = self.training, self.evaluation
        if None in (ours.skewness, ours.kurtosis, theirs.skewness, theirs.kurtosis):
            return False
        if not (ours.kurtosis or 0) > 0 or not (theirs.kurtosis or 0) > 0:
            return False
        mirrored = abs((ours.skewness or 0.0) - (theirs.skewness or 0.0))
        return mirrored <= FORM and abs(math.log((theirs.kurtosis or 1.0) / (ours.kurtosis or 1.0))) <= FORM

    @property
    def beyond_chance(self) -> bool:
        """Whether mean or spread differ by more than examples drawn anew, and than single batches, would."""
        ours, theirs = self.training, self.evaluation
        if not ours.examples or not theirs.examples or not ours.std:
            return False
        error = math.sqrt(1 / ours.examples + 1 / theirs.examples)
        tails = max(1.0, (ours.kurtosis or 3.0) - 1) / 4
        scattered = ((ours.mean_scatter or 0.0) + (theirs.mean_scatter or 0.0)) / ours.std
        in_mean = self.shift > _ERRORS * error and self.shift > 2 * scattered
        spread = (ours.std_scatter or 0.0) / ours.std + (theirs.std_scatter or 0.0) / (theirs.std or math.inf)
        in_scale = abs(math.log(self.scale)) if self.scale > 0 else 0.0
        return in_mean or (in_scale > _ERRORS * error * math.sqrt(tails) and in_scale > 2 * spread)


def input_pairs(run: Run, evaluation: LoaderFacts) -> Iterator[Pair]:
    """The tensors of an evaluation source beside those at the same place of a training source.

    That is one that trained just before the evaluation, where that is known: an earlier stage has other data.
    """
    training = training_sources(run)
    just_before = [source for source in training if source.id in evaluation.after and source.inputs]
    for ours in evaluation.inputs:
        for source in just_before or training:
            known = next((one for one in source.inputs if one.place == ours.place), None)
            if known is not None and known.dtype == ours.dtype and len(known.shape) == len(ours.shape):
                yield Pair(known, ours)
                break


def equal_share(facts: AlignmentFacts, shift: int) -> float:
    """The share of valid targets that are the id at this shift of -1, 0, 1 and 2; 0 where none was compared."""
    place = _SHIFTS.index(shift)
    if len(facts.compared) <= place or len(facts.equal) <= place or not facts.compared[place]:
        return 0.0
    return facts.equal[place] / facts.compared[place]


def compared(facts: AlignmentFacts, shift: int) -> int:
    """The valid targets that have a partner at this shift."""
    place = _SHIFTS.index(shift)
    return facts.compared[place] if len(facts.compared) > place else 0


class Overlap(NamedTuple):
    """Examples of an evaluation source that are in a training source, too."""

    examples: int  # that were compared
    shared: int
    share: float  # of the evaluation's examples, an estimate where only some of the training's were compared
    by_chance: float  # that would be shared, were both drawn from data as repetitive as the training's; 0 of copies
    exact: bool  # by the indices of Subsets


def overlap(run: Run, evaluation: LoaderFacts) -> Overlap | None:
    """What an evaluation source shares with the training source it was compared with; None: nothing was compared."""
    other = next((one for one in run.meta.loaders if one.id == evaluation.compared_with), None)
    if other is None:
        return None
    # Disjoint indices may still be copies of one example.
    if evaluation.shared_indices > 0 and evaluation.examples:
        share = min(1.0, evaluation.shared_indices / evaluation.examples)
        return Overlap(evaluation.examples, evaluation.shared_indices, share, 0.0, exact=True)
    if not evaluation.hashed or not other.hashed:
        return None
    seen = min(1.0, other.hashed / other.examples) if other.examples else 1.0
    share = min(1.0, evaluation.shared / evaluation.hashed / seen)
    copies = evaluation.rich and other.rich
    by_chance = 0.0 if copies else 2 * evaluation.hashed * other.repeated / other.hashed
    return Overlap(evaluation.hashed, evaluation.shared, share, by_chance, exact=False)
