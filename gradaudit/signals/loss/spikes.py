"""The losses of a spike themselves: a running median looks back, and tells of them later and lower than they were."""

import msgspec
import numpy

from gradaudit.signals.order_statistics import Floats, Integers, Mask
from gradaudit.training import Training

_APART = 5  # steps between spikes: nearer ones are one
_MARGIN = 25  # steps shown before and after a spike
_BEFORE, _RISEN = 3, 3.0  # steps, times: a learning rate that jumps so shortly before a spike is why it came


class Spikes(msgspec.Struct, frozen=True, eq=False):
    """The steps at which the loss is high, as indices of this optimizer's steps, and the highest of the spikes."""

    steps: Integers  # of all spikes
    first: int  # of the highest spike
    last: int
    top: int  # its highest step

    def around(self, total: int) -> slice:
        """The steps around the highest spike: several times its width, so that it can be seen."""
        margin = max(_MARGIN, 2 * (self.last - self.first))
        return slice(max(0, self.first - margin), min(total, self.last + margin + 1))


def raw_spikes(values: Floats, high: Mask, limit: Floats, worst: int, window: int) -> Spikes:
    """The losses above `limit` behind a running median over `window` steps that is `high`, highest at `worst`."""
    near = numpy.zeros(len(high), dtype=bool)
    for at in numpy.flatnonzero(high).tolist():
        near[max(0, at - window + 1) : at + 1] = True
    with numpy.errstate(invalid="ignore"):
        own = numpy.flatnonzero(near & (values > limit))
    steps = own if len(own) else numpy.flatnonzero(high)
    parts = numpy.split(steps, numpy.flatnonzero(numpy.diff(steps) > _APART) + 1)
    spike = min(parts, key=lambda part: int(numpy.abs(part - worst).min()))
    top = int(spike[numpy.argmax(numpy.nan_to_num(values[spike], nan=-numpy.inf))])
    return Spikes(steps=steps, first=int(spike[0]), last=int(spike[-1]), top=top)


def rate_jump(training: Training, first: int) -> int | None:
    """The step, at most a few before step `first`, at which a learning rate was several times that of the one before.

    Both are indices of this optimizer's steps; None where no rate jumped.
    """
    rates = training.learning_rates
    for at in range(first, max(0, first - _BEFORE), -1):
        if (rates[at] > _RISEN * numpy.where(rates[at - 1] > 0, rates[at - 1], numpy.inf)).any():
            return at
    return None
