"""How the weights grow or shrink over a run, and the weight decay that was set."""

import numpy

from gradaudit.derived.learning_rates import learning_rates, of_groups, optimizer_class
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
    decays = of_groups(run, optimizer, "weight_decay")
    most = float(numpy.finfo(numpy.float32).max)
    return numpy.asarray(numpy.nan_to_num(decays, copy=False, posinf=most).max(axis=0, initial=0.0))


@per_run
def decay_paths(run: Run, optimizer: int) -> Floats:
    """[parameter groups]: what weight decay alone takes off the logarithm of a weight, over the whole run.

    Learning rate times decay, summed over the steps, with the greatest decay of each group. NaN where the decay
    passes the optimizer's own scaling, as in Adam: there the product says nothing.
    """
    decays, rates = weight_decays(run, optimizer), learning_rates(run, optimizer)
    groups = max(len(decays), rates.shape[1])
    paths = numpy.zeros(groups)
    paths[: rates.shape[1]] = numpy.nan_to_num(rates).sum(axis=0)
    decays = numpy.pad(decays, (0, groups - len(decays)))
    if optimizer_class(run, optimizer) not in ("SGD", "AdamW"):
        return numpy.where(decays > 0, numpy.nan, 0.0)
    return numpy.asarray(paths * decays * momentum_gain(run, optimizer))


def momentum_gain(run: Run, optimizer: int) -> float:
    """How many times momentum repeats what one step does: SGD's 1 / (1 - momentum), less what is dampened."""
    facts = next((facts for facts in run.meta.optimizers if facts.id == optimizer), None)
    if facts is None or facts.optimizer_class != "SGD":
        return 1.0
    momentum, dampening = facts.defaults.get("momentum"), facts.defaults.get("dampening")
    known = isinstance(momentum, float) and 0 <= momentum < 1
    kept = 1 - dampening if isinstance(dampening, float) and momentum else 1.0
    return kept / (1 - momentum) if known and isinstance(momentum, float) else 1.0
