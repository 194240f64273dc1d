"""Whether a training sees the same few examples at every step: a toy problem, or a batch that is to be fitted."""

import numpy

from gradaudit.reading.run import Run
from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.order_statistics import median
from gradaudit.signals.per_run import per_run

_EARLY = 30  # recorded steps: later on a loss of zero leaves gradients without a direction
_ALIKE = 0.8  # cosine of successive gradients; the same two to four examples have 0.91 and more, random ones 0.09


@per_run
def same_batch(run: Run, optimizer: int) -> int:
    """The number of examples in each batch where all have as many and the gradients agree from step to step; else 0."""
    sizes = numpy.unique(run.steps_of(optimizer)["batch_size"].to_numpy())
    cosines = run.matrix("gradient_cosine", optimizer)[1 : _EARLY + 1, weight_layers(run, optimizer)]
    known = cosines[numpy.isfinite(cosines)]
    if len(sizes) != 1 or not known.size or not median(known) >= _ALIKE:
        return 0
    return max(0, int(sizes[0]))
