"""How weight layers compare with each other: one quantity of each, in an early and a late window."""

from typing import Literal

import msgspec
import numpy

from gradaudit.signals.layers.layers import comparable_layers
from gradaudit.signals.order_statistics import Floats, Mask, medians
from gradaudit.signals.updates.learning_rates import recorded_learning_rates
from gradaudit.signals.updates.ratios import gradient_ratio, last_half, update_ratio, window
from gradaudit.training import Training, signal

Quantity = Literal["update", "gradient"]

EARLY = (10, 60)  # steps: past the first noise, before training has settled
APART = 0.7  # decades from the median layer at which a layer counts as one that stands out


class Profile(msgspec.Struct, frozen=True, eq=False):
    """log10 of one quantity for each compared layer, in depth order."""

    early: Floats
    late: Floats

    @property
    def spread(self) -> float:
        """Decades between the extremes, in the window where they are closer."""
        return min(_spread(self.early), _spread(self.late))

    def of(self, layers: Mask) -> "Profile":
        """The same of some of the compared layers."""
        return Profile(self.early[layers], self.late[layers])


def logarithms_of(values: Floats, rows: Mask) -> Floats:
    """[layers]: log10 of each layer's median over the chosen steps; NaN where it is zero or unknown."""
    middle = medians(values[rows])
    return numpy.log10(numpy.where(middle > 0, middle, numpy.nan))


@signal
def profile(training: Training, quantity: Quantity) -> Profile:
    """The quantity over the weights of each comparable layer; updates also over the learning rate of their group."""
    chosen = comparable_layers(training)
    if quantity == "update":
        rates = recorded_learning_rates(training)
        # Groups may have their own learning rates on purpose; `rate` looks at those.
        values = update_ratio(training) / numpy.where(rates > 0, rates, numpy.nan)
        if not numpy.isfinite(rates).any():
            values = update_ratio(training)
    else:
        values = gradient_ratio(training)
    values = values[:, chosen]
    return Profile(logarithms_of(values, window(training, *EARLY)), logarithms_of(values, last_half(training)))


def _spread(logarithms: Floats) -> float:
    finite = logarithms[numpy.isfinite(logarithms)]
    return float(finite.max() - finite.min()) if len(finite) > 1 else 0.0


class Gap(msgspec.Struct, frozen=True):
    """Decades between neighbours when the layers are sorted early, and between the same layers late."""

    early: float  # the largest
    late: float  # between the layers on both sides of it; negative where they overlap
    both: float  # of the gap that lasts best: in the window where it is closer


def lasting_gap(early: Floats, late: Floats) -> Gap:
    """The largest gap of the early window, and what is left of it late; layers that one of them does not know are left
    out."""
    known = numpy.isfinite(early) & numpy.isfinite(late)
    if known.sum() < 2:
        return Gap(0.0, 0.0, 0.0)
    order = numpy.argsort(early[known], kind="stable")
    later = late[known][order]
    first = numpy.diff(early[known][order])
    second = numpy.minimum.accumulate(later[::-1])[::-1][1:] - numpy.maximum.accumulate(later)[:-1]
    largest = int(numpy.argmax(first))
    both = max(0.0, float(numpy.minimum(first, second).max()))
    return Gap(float(first[largest]), float(second[largest]), both)


def outliers(logarithms: Floats) -> tuple[Floats, Mask]:
    """How many decades each layer is from the others' median, and which stand out; with two layers the slower one."""
    finite = numpy.isfinite(logarithms)
    ranked = numpy.sort(logarithms[finite])
    # The upper median: of two layers the slower one stands out, and is named as what lags behind.
    away = logarithms - ranked[len(ranked) // 2]
    far = numpy.where(finite, numpy.abs(away), -1.0)
    return away, finite & (far >= min(APART, far.max()))
