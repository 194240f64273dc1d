"""How the gradient changes along the depth of a model: the profile behind vanishing and exploding gradients."""

import math
from collections.abc import Iterator
from itertools import product

import msgspec
import numpy

from gradaudit.signals.layers.layer_profile import logarithms_of
from gradaudit.signals.layers.layers import comparable_layers
from gradaudit.signals.layers.replaced import replaced_at
from gradaudit.signals.layers.term_groups import term_groups
from gradaudit.signals.order_statistics import Floats, Integers, Mask, rank_correlation
from gradaudit.signals.thresholds import threshold
from gradaudit.signals.updates.ratios import last_half, window
from gradaudit.training import Training, signal

FIRST_STEPS = 9  # the profile is taken over steps 0 to 9, or as long as the weights are those of the start
STEEP = 3.0  # decades; healthy models reach 1.4, and 2.5 where two nets are pooled; faulty ones start at 4.0
ORDERED = 0.8  # Spearman's correlation of the layers' order with their gradient
LEAST_LAYERS = 4
LEAST_IN_STRETCH = 6  # layers in a row; by chance four fall in order in every 24th net, six in every 720th
ALONE = 0.9  # of the change: a step between two modules that holds it is no slope; of a chain's it holds half at most
EACH = 0.1  # decades from layer to layer of a stretch; parallel experts differ by less, the weakest fault by 0.2


class Slope(msgspec.Struct, frozen=True, eq=False):
    """log10 of the gradient norm of each weight layer of one branch, from the input to the output."""

    branch: str  # path of the modules it covers; empty for all of the optimizer's
    columns: Integers  # [layers] in the matrices of the optimizer
    early: Floats  # [layers] median over the first steps
    drop: float  # decades by which the last two layers lie above the first two, in the first steps
    late_drop: float  # the same over the last half; NaN when it is not known
    order: float  # Spearman's correlation over the layers, in the first steps

    @property
    def first_two(self) -> float:
        """The gradient norm of the two layers at the input, in the first steps."""
        return float(10 ** self.early[:2].mean())

    @property
    def last_two(self) -> float:
        """The gradient norm of the two layers at the output, in the first steps."""
        return float(10 ** self.early[-2:].mean())


@signal
def slopes(training: Training) -> tuple[Slope, ...]:
    """The profile of all layers, then of each branch of the model; layers without a gradient are left out."""
    return tuple(_slopes(training))


@signal
def slope(training: Training) -> Slope | None:
    """The first profile that is steep in one direction, or None."""
    return next((s for s in slopes(training) if vanishes(training, s) or explodes(training, s)), None)


def vanishes(training: Training, profile: Slope) -> bool:
    """Whether `vanishing_gradient` calls this profile steep."""
    decades = threshold(training.run, "vanishing_gradient.decades", STEEP)
    ordered = threshold(training.run, "vanishing_gradient.order", ORDERED)
    return profile.drop > 0 and is_steep(profile, decades, ordered)


def explodes(training: Training, profile: Slope) -> bool:
    """Whether `exploding_gradient` calls this profile steep."""
    decades = threshold(training.run, "exploding_gradient.decades", STEEP)
    ordered = threshold(training.run, "exploding_gradient.order", ORDERED)
    return profile.drop < 0 and is_steep(profile, decades, ordered)


def is_steep(profile: Slope, steep: float, ordered: float) -> bool:
    """Whether the gradient changes by `steep` decades, steadily from layer to layer."""
    rising = profile.order if profile.drop > 0 else -profile.order
    return abs(profile.drop) >= steep and rising >= ordered


def growth_exponent(profile: Slope) -> float:
    """Natural logarithm of the factor by which each layer multiplies the gradient on its way back; 0 keeps its size.

    From the mean of the last two layers to that of the first two, over the layers between. After OLMo 2 (arXiv
    2501.00656, section 3.2), which aims at 0: models of different depth can be compared by it.
    """
    return -profile.drop * math.log(10) / max(1, len(profile.columns) - 2)


@signal
def profiled(training: Training) -> Mask:
    """[recorded steps]: the first ones, as long as the weights are those that the model started with."""
    other = replaced_at(training)
    early = window(training, 0, FIRST_STEPS)
    return early if other is None else early & (training.recorded_global_steps < other)


def _slopes(training: Training) -> Iterator[Slope]:
    rows = profiled(training)
    if not rows.any():
        return
    norms = training.matrix("gradient_norm")
    every = logarithms_of(norms, rows)
    late = logarithms_of(norms, last_half(training))
    usable = comparable_layers(training) & numpy.isfinite(every)
    names = [tensor.module for tensor in training.tensors]
    tops = [name.partition(".")[0] for name in names]
    branches = [top for top in dict.fromkeys(tops) if top and not all(top == other for other in tops)]
    groups, seen = term_groups(training), set()
    for branch, group in product(["", *branches], groups):
        mine = numpy.asarray([not branch or top == branch for top in tops], dtype=bool)
        # The heads of two losses stand beside each other, and are no depth.
        columns = numpy.flatnonzero(usable & mine & group)
        if len(columns) < LEAST_LAYERS or columns.tobytes() in seen:
            continue
        seen.add(columns.tobytes())
        early = every[columns]
        if _side_by_side([names[int(column)] for column in columns], early):
            continue
        yield Slope(
            branch=branch or _parts(tops, columns, usable),
            columns=columns,
            early=early,
            drop=_drop(early),
            late_drop=_drop(late[columns]),
            order=rank_correlation(early),
        )


def _parts(tops: list[str], columns: Integers, usable: Mask) -> str:
    """The outermost modules that some of the layers belong to; nothing where they are all."""
    return "" if len(columns) == usable.sum() else ", ".join(dict.fromkeys(tops[int(column)] for column in columns))


def _side_by_side(modules: list[str], early: Floats) -> bool:
    """Whether the gradient changes only from one module to its neighbour: two nets with a loss each, not one chain."""
    steps = numpy.diff(early)
    at = int(numpy.argmax(numpy.abs(steps)))
    pair = [module.split(".") for module in modules[at : at + 2]]
    shared = next((i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), -1)
    nets = [".".join(path[: shared + 1]) for path in pair]
    return (
        shared >= 0
        and not any(path[shared].isdigit() for path in pair)  # numbered modules are a chain
        and all(sum(module.startswith(net + ".") for module in modules) > 1 for net in nets)
        and abs(float(steps[at])) >= ALONE * abs(_drop(early))
    )


@signal
def growing_stretch(training: Training) -> Slope | None:
    """The layers in a row over which the gradient grows most towards the input, each by 10^EACH or more; None without.

    What stands before and behind them does not count: a head that is not saturated has a gradient of its own.
    """
    late = logarithms_of(training.matrix("gradient_norm"), last_half(training))
    best: Slope | None = None
    for profile in slopes(training):
        falls = [False, *(bool(fall <= -EACH) for fall in numpy.diff(profile.early)), False]
        starts = [i for i in range(1, len(falls)) if falls[i] and not falls[i - 1]]
        for start in starts:
            end = falls.index(False, start)  # layers start - 1 to end - 1
            columns, early = profile.columns[start - 1 : end], profile.early[start - 1 : end]
            drop = _drop(early)
            if len(columns) >= LEAST_IN_STRETCH and (best is None or drop < best.drop):
                best = Slope(profile.branch, columns, early, drop, _drop(late[columns]), -1.0)
    return best


def _drop(logarithms: Floats) -> float:
    known = logarithms[numpy.isfinite(logarithms)]
    return float(known[-2:].mean() - known[:2].mean()) if len(known) >= LEAST_LAYERS else float("nan")
