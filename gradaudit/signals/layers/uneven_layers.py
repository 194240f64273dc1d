"""How far apart the weight layers are in their updates and gradients, and which of them stand out."""

import math

import msgspec
import numpy

from gradaudit.signals.layers.initialisation import InitialSizes, initial_sizes
from gradaudit.signals.layers.layer_profile import EARLY, Gap, Quantity, lasting_gap, logarithms_of, outliers, profile
from gradaudit.signals.layers.layers import comparable_layers
from gradaudit.signals.order_statistics import Mask
from gradaudit.signals.updates.learning_rates import is_adaptive, peak_rates
from gradaudit.signals.updates.ratios import last_half, window
from gradaudit.training import Training


class Spreads(msgspec.Struct, frozen=True):
    """How far apart some layers are, in decades."""

    layers: int
    updates: float  # of the update-to-weight ratios, in both windows
    gradients: float  # of the gradient-to-weight ratios, in both windows
    gap: Gap  # between sorted gradient norms


class LayerOutliers(msgspec.Struct, frozen=True):
    """The layers that stand out in one quantity over the last half; the numbers are those of the first one."""

    quantity: Quantity
    layers: tuple[str, ...]  # the one that is furthest from the median first
    module: str
    times: float  # how many times its ratio is that of the median layer, or the other way round
    is_slower: bool  # its ratio is the smaller one
    among: int  # layers that are compared
    initial: InitialSizes | None  # where it starts at another size than the others
    is_adaptive: bool  # the optimizer divides by the size of the gradient
    largest_rate: float  # of all parameter groups; NaN where none is known


def spreads_of(training: Training, chosen: Mask) -> Spreads:
    """How far apart the `chosen` ones of the comparable layers are, [tensors]."""
    among = chosen[comparable_layers(training)]
    norms = training.matrix("gradient_norm")[:, chosen]
    early, late = window(training, *EARLY), last_half(training)
    return Spreads(
        layers=int(chosen.sum()),
        updates=profile(training, "update").of(among).spread,
        gradients=profile(training, "gradient").of(among).spread,
        gap=lasting_gap(logarithms_of(norms, early), logarithms_of(norms, late)),
    )


def layer_outliers(training: Training, chosen: Mask, quantity: Quantity) -> LayerOutliers:
    """Which of the `chosen` layers, [tensors], stand out."""
    tensors = [t for t, take in zip(training.tensors, chosen, strict=True) if take]
    away, out = outliers(profile(training, quantity).of(chosen[comparable_layers(training)]).late)
    order = sorted(numpy.flatnonzero(out).tolist(), key=lambda index: -abs(float(away[index])))
    worst, rates = order[0], peak_rates(training)
    return LayerOutliers(
        quantity=quantity,
        layers=tuple(tensors[index].name for index in order),
        module=tensors[worst].module,
        times=10 ** abs(float(away[worst])),
        is_slower=bool(away[worst] < 0),
        among=len(tensors),
        initial=initial_sizes(training, tensors[worst]),
        is_adaptive=is_adaptive(training),
        largest_rate=float(numpy.nanmax(rates)) if numpy.isfinite(rates).any() else math.nan,
    )
