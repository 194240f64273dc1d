"""Along which axes attention runs, against those that it should run along."""

import math
from collections.abc import Sequence

from gradaudit.schema import AttentionFacts, SoftmaxFacts


def is_single(one: SoftmaxFacts) -> bool:
    """Whether a softmax is over one number each."""
    return one.axis < len(one.sizes) and one.sizes[one.axis] == 1 and not one.scores


def sums_elsewhere(one: SoftmaxFacts) -> bool:
    """Whether attention is normalised along one axis and summed along another."""
    known = one.scores and one.summed is not None and one.axis < len(one.sizes) > (one.summed or 0)
    return known and one.axis != one.summed and one.sizes[one.axis] > 1


def over_the_batch(attentions: Sequence[AttentionFacts]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The sizes of a fused attention over the examples of a batch, and the sizes of those batches; None of no such.

    Of one batch size the length of the sequences may be the same; two that it follows are no chance.
    """
    known = [one for one in attentions if one.batch and len(one.sizes) == 4]
    batches = tuple(sorted({one.batch for one in known}))
    first = {one.sizes[0] for one in known}
    # With one sequence for all, examples look at each other on purpose.
    if len(batches) < 2 or first & {1, *batches} or any(one.sizes[2] != one.batch for one in known):
        return None
    return tuple(known[0].sizes), batches


def single_softmaxes(softmaxes: Sequence[SoftmaxFacts]) -> list[SoftmaxFacts]:
    """Softmaxes that are over one number each, in every graph; one before a loss stands for all of them."""
    groups: dict[tuple[str, int, int], list[SoftmaxFacts]] = {}
    for one in softmaxes:
        groups.setdefault((one.kind, one.axis, len(one.sizes)), []).append(one)
    return [
        max(group, key=lambda one: one.last)
        for group in groups.values()
        if all(is_single(one) for one in group) and max(math.prod(one.sizes) for one in group) > 1
    ]
