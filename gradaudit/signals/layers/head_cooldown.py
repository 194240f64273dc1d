"""What the output layer and the loss do while the learning rate falls."""

import math

import msgspec
import numpy

from gradaudit.signals.layers.layers import weight_layers, zero_initialised
from gradaudit.signals.loss.progress import TENTHS
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.signals.order_statistics import Floats, medians_across
from gradaudit.signals.updates.learning_rates import sustained
from gradaudit.training import Training, signal

LEAST_STEPS = 50  # of falling rate: tenths of five losses
_NEAR = 0.9  # of the peak of the learning rate: a plateau is no fall


class Cooldown(msgspec.Struct, frozen=True, eq=False):
    """The stretch over which the learning rate falls, and what head, other layers and loss do in it."""

    first: int  # global step
    last: int  # global step
    row: int  # the recorded step nearest to the first one
    head: Floats  # [recorded steps] norm of the head's weight over that at the first step
    others: Floats  # [recorded steps] the median of the other weight layers'
    lowest_loss: float  # mean of the lowest tenth
    last_loss: float  # mean of the last tenth
    is_rising: bool  # the lowest tenth is none of the last two
    errors: float  # standard errors between the two means

    @property
    def head_growth(self) -> float:
        """How many times its size the head ends at."""
        return float(self.head[-1])

    @property
    def others_growth(self) -> float:
        """The same of the median of the other layers; NaN where there are none."""
        return float(self.others[-1])

    @property
    def head_over_others(self) -> float:
        """The growth of the head over that of the others, which counts as 1 where they shrink or are not known."""
        return self.head_growth / (1.0 if math.isnan(self.others_growth) else max(1.0, self.others_growth))

    @property
    def loss_rise(self) -> float:
        """How far the last tenth of the loss lies above the lowest one, over the lowest."""
        rise = self.last_loss - self.lowest_loss
        return rise / abs(self.lowest_loss) if self.lowest_loss else math.inf


@signal
def cooldown_start(training: Training, cooled: float) -> int | None:
    """The index of the last step whose learning rate is near its peak; None where it does not fall after that."""
    rates = training.learning_rates
    highest = sustained(numpy.where(numpy.isfinite(rates), rates, 0.0).max(axis=1, initial=0.0))
    peak = float(highest.max(initial=0.0))
    if not 0 < peak < math.inf:
        return None
    start = int(numpy.flatnonzero(highest >= _NEAR * peak)[-1])
    return start if highest[-1] <= cooled * peak and len(highest) - start >= LEAST_STEPS else None


def head_cooldown(training: Training, head: int, start: int) -> Cooldown | None:
    """What the head in column `head` and the loss do from step `start`, an index, to the end of the run.

    None where the weights were not recorded then, or a tenth of these steps has no finite loss.
    """
    loss = training_loss(training)
    norms = training.matrix("weight_norm")
    own = training.steps["step"].to_numpy(dtype=numpy.int64)
    row = int(numpy.searchsorted(training.recorded, own[start]))
    tenths = [part[numpy.isfinite(part)] for part in numpy.array_split(loss.values[start:], TENTHS)]
    # A last recorded step long before the end says nothing of the end.
    late = len(norms) and training.recorded[-1] >= own[start] + 0.8 * (own[-1] - own[start])
    if row >= len(norms) - 1 or not late or not norms[row, head] > 0 or not all(len(part) for part in tenths):
        return None
    with numpy.errstate(divide="ignore", invalid="ignore"):
        over = norms / norms[row]
    rest = weight_layers(training) & ~zero_initialised(training)
    rest[head] = False
    means = [float(part.mean()) for part in tenths]
    lowest = int(numpy.argmin(means))
    noise = math.hypot(*(float(tenths[i].std()) / math.sqrt(len(tenths[i])) for i in (lowest, -1)))
    rise = means[-1] - means[lowest]
    return Cooldown(
        first=int(loss.steps[start]),
        last=int(loss.steps[-1]),
        row=row,
        head=over[:, head],
        others=medians_across(over[:, rest]) if rest.any() else numpy.full(len(over), numpy.nan),
        lowest_loss=means[lowest],
        last_loss=means[-1],
        is_rising=lowest < TENTHS - 2,
        errors=rise / noise if noise > 0 else math.copysign(math.inf, rise),
    )
