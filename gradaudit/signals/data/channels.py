"""The channels of images in training beside those in evaluation: scaled otherwise, or in another order."""

import math
from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import msgspec

from gradaudit.schema.loaders import ChannelFacts, InputFacts
from gradaudit.signals.data.sources import FORM, Pair

_EQUAL = 0.15  # standard deviations between means, and between logarithms of spreads: one and the same channel
_APART = 0.5  # of the same: augmentations of colour move a channel by 0.3 at most
_OTHER_FORM = 2 * FORM


class Swap(NamedTuple):
    """Channels of the evaluation in another order than in the training."""

    order: tuple[int, ...]  # the training's channel at each place of the evaluation
    apart: float  # the largest distance between channels at the same place
    left: float  # and in this order
    by_form: bool  # distances are those of skewness and kurtosis, which no normalisation changes


def channel_pairs(pair: Pair) -> list[Pair]:
    """The channels of an input one by one; empty where it has none."""
    ours, theirs = pair.training.channels, pair.evaluation.channels
    if len(ours) != len(theirs):
        return []
    place = f"input {pair.training.place}" if pair.training.place.isdigit() else pair.training.place
    return [
        Pair(_one(pair.training, mine, f"channel {at} of {place}"), _one(pair.evaluation, other, place))
        for at, (mine, other) in enumerate(zip(ours, theirs, strict=True))
    ]


def _one(facts: InputFacts, channel: ChannelFacts, place: str) -> InputFacts:
    return msgspec.structs.replace(
        facts, place=place, channels=[], **{name: getattr(channel, name) for name in channel.__struct_fields__}
    )


def swap(pair: Pair) -> Swap | None:
    """The order in which the channels fit, where they do not fit as they are."""
    same = channel_pairs(pair)
    if len(same) < 2 or not any(one.beyond_chance for one in same) or not _apart(same) >= _APART:
        return None
    orders = [order for order in permutations(range(len(same))) if order != tuple(range(len(same)))]
    in_order = {order: [Pair(same[n].training, same[at].evaluation) for at, n in enumerate(order)] for order in orders}
    for measure, most, least in ((_apart, _EQUAL, _APART), (_forms, FORM, _OTHER_FORM)):
        best = min(orders, key=lambda order, by=measure: by(in_order[order]))  # type: ignore[misc]
        if measure(same) >= least and measure(in_order[best]) <= most:
            return Swap(best, measure(same), measure(in_order[best]), measure is _forms)
    return None


def _apart(pairs: Sequence[Pair]) -> float:
    """How far these channels are apart in mean and spread: the largest distance; infinite where one is not known."""
    return max(
        max(pair.shift, abs(math.log(pair.scale))) if pair.scale > 0 and pair.shift >= 0 else math.inf for pair in pairs
    )


def _forms(pairs: Sequence[Pair]) -> float:
    """How far they are apart in skewness and the logarithm of kurtosis: the largest distance."""
    gaps = [0.0]
    for ours, theirs in pairs:
        if not (ours.kurtosis or 0) > 0 or not (theirs.kurtosis or 0) > 0:
            return math.inf
        gaps.append(abs((ours.skewness or 0.0) - (theirs.skewness or 0.0)))
        gaps.append(abs(math.log((theirs.kurtosis or 1.0) / (ours.kurtosis or 1.0))))
    return max(gaps)
