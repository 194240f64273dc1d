"""How the weights grow or shrink over a run, and the weight decay that was set."""

import numpy

from gradaudit.derived.order_statistics import Floats
from gradaudit.derived.per_run import per_run
from gradaudit.run import Run


def norms_over_first(run: Run, optimizer: int) -> Floats:
    """[recorded steps, tensors]: L2 norm of the weights over the first finite one; NaN where that is 0 or unknown."""
    norms = run.matrix("weight_norm", optimizer)
    if not len(norms):
        return norms
    first = norms[numpy.argmax(numpy.isfinite(norms), axis=0), numpy.arange(norms.shape[1])]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.where((first > 0) & numpy.isfinite(first), norms / first, numpy.nan)


@per_run
def weight_decays(run: Run, optimizer: int) -> Floats:
    """[parameter groups]: the greatest weight decay of each group over the run; 0 where none was recorded."""
    lists = [numpy.nan_to_num(values) for values in run.steps_of(optimizer)["weight_decay"] if values is not None]
    groups = max((len(values) for values in lists), default=0)
    most = numpy.zeros(groups)
    for values in lists:
        numpy.maximum(most[: len(values)], values, out=most[: len(values)])
    return most
