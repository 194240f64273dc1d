"""The weight decay that takes most of some layers, whether it explains how far they shrink, and a smaller one."""

import math

import msgspec
import numpy

from gradaudit.signals.order_statistics import Integers
from gradaudit.signals.updates.learning_rates import peak_rates
from gradaudit.signals.updates.weight_growth import decay_paths, momentum_gain, weight_decays
from gradaudit.training import Training

_EXPLAINED = 0.1  # of the shrinkage, as a logarithm: less decay than that is not its cause
_TAKEN = 0.1  # of an idle weight over the whole run: what the suggested decay takes


class StrongestDecay(msgspec.Struct, frozen=True):
    """The weight decay of the parameter group, of those of some layers, in which it takes most."""

    group: int  # -1 where none is known
    value: float
    explains: bool  # it can have shrunk the weights so far, or is not known to be too small for that
    peak_rates: list[float]  # greatest learning rate of the group; of every group where it is not known
    suggested: float  # NaN where it does not explain


def strongest_decay(training: Training, columns: Integers, remains: float) -> StrongestDecay:
    """The decay that takes most of the layers `columns`, whose weights end at `remains` of their first norm."""
    group = _decaying_group(training, columns)
    value = float(weight_decays(training)[group]) if group >= 0 else 0.0
    explains = _explains(training, value, remains)
    rates = peak_rates(training)
    return StrongestDecay(
        group=group,
        value=value,
        explains=explains,
        peak_rates=(rates[[group]] if group >= 0 else rates).tolist(),
        suggested=_smaller_decay(training, value, group) if explains else math.nan,
    )


def _explains(training: Training, decay: float, remains: float) -> bool:
    """Whether the weight decay can have shrunk the weights to `remains`, or is not known to be too small for it."""
    paths = decay_paths(training)
    if not numpy.isfinite(paths).all() or not remains > 0:
        return decay > 0
    return decay > 0 and not 0 < float(paths.max(initial=0.0)) < _EXPLAINED * -math.log(remains)


def _decaying_group(training: Training, columns: Integers) -> int:
    """The parameter group of the judged layers whose weight decay takes most: learning rate times decay, summed."""
    tensors, decays = training.tensors, weight_decays(training)
    groups = sorted({tensors[int(index)].group for index in columns} & set(range(len(decays))))
    paths = numpy.nan_to_num(training.learning_rates).sum(axis=0)
    return max(groups, key=lambda group: (decays[group] * paths[group], decays[group])) if groups else -1


def _smaller_decay(training: Training, decay: float, group: int) -> float:
    """A weight decay, to one digit, that takes about a tenth of a weight that nothing else moves, or less."""
    path = float(numpy.nan_to_num(training.learning_rates)[:, group].sum()) * momentum_gain(training)
    better = min(decay / 10, _TAKEN / path) if path > 0 else decay / 100
    return float(format(better, ".0e"))
