"""Ranks whose gradient norms differ, although averaged gradients would be equal."""

import msgspec

from gradaudit.signals.order_statistics import median
from gradaudit.signals.ranks.replicas import SideBySide, spread


class GradientsApart(msgspec.Struct, frozen=True, eq=False):
    """At how many steps the gradient norms of the ranks differ, and by how much."""

    norms: SideBySide
    steps: int  # at which they differ
    share: float  # of all steps with norms; a fraction
    typical: float  # difference / norm, median over all steps; a fraction
    difference: float  # the same over the steps at which they differ
    first: int  # global step at which they differ
    last: int  # global step at which they differ


def gradients_apart(norms: SideBySide, gradient: float) -> GradientsApart | None:
    """Norms differ where their difference is more than `gradient` of the norm; None where they do at no step."""
    differences = spread(norms.values)
    apart = differences > gradient
    steps = norms.steps[apart]
    if not len(steps):
        return None
    return GradientsApart(
        norms=norms,
        steps=len(steps),
        share=float(apart.mean()),
        typical=median(differences),
        difference=median(differences[apart]),
        first=int(steps[0]),
        last=int(steps[-1]),
    )
