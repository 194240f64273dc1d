"""Whether a training sees the same few examples at every step: a toy problem, or a batch that is to be fitted."""

import numpy

from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.order_statistics import median
from gradaudit.training import Training, signal

_EARLY = 30  # recorded steps: later on a loss of zero leaves gradients without a direction
_ALIKE = 0.8  # cosine of successive gradients; the same two to four examples have 0.91 and more, random ones 0.09


@signal
def same_batch(training: Training) -> int:
    """The number of examples in each batch where all have as many and the gradients agree from step to step; else 0."""
    sizes = numpy.unique(training.steps["batch_size"].to_numpy())
    cosines = training.matrix("gradient_cosine")[1 : _EARLY + 1, weight_layers(training)]
    known = cosines[numpy.isfinite(cosines)]
    if len(sizes) != 1 or not known.size or not median(known) >= _ALIKE:
        return 0
    return max(0, int(sizes[0]))
