"""Updates in units of the learning rate: how far a step goes per element, where Adam's bound is about one."""

import numpy

from gradaudit.derived.layers import weight_layers
from gradaudit.derived.learning_rates import label_of, optimizer_class, recorded_learning_rates
from gradaudit.derived.order_statistics import Floats, Mask, median, medians
from gradaudit.derived.per_run import per_run
from gradaudit.derived.ratios import last_half
from gradaudit.derived.wording import number, setting
from gradaudit.reading.run import Run

# Moonlight (arXiv 2502.16982, section 2.2) gives 0.2 to 0.4 for AdamW. The weight layers of two healthy runs of the
# laboratory, at every eps from 1e-12 to 1e-4: 0.18 to 0.29.
USUAL = (0.2, 0.4)


@per_run
def update_rms(run: Run, optimizer: int) -> Floats:
    """[recorded steps, tensors]: root mean square of the update over the learning rate; NaN where either is unknown."""
    elements = numpy.sqrt([max(1, tensor.elements) for tensor in run.tensors_of(optimizer)])
    rates = recorded_learning_rates(run, optimizer)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.asarray(run.matrix("update_norm", optimizer) / elements / numpy.where(rates > 0, rates, numpy.nan))


@per_run
def typical_update_rms(run: Run, optimizer: int) -> float:
    """The same of the median weight layer over the last half of the run; NaN where it is not known."""
    layers = update_rms(run, optimizer)[:, weight_layers(run, optimizer)]
    return median(medians(layers[last_half(run, optimizer)]))


def update_size(run: Run, optimizer: int, rows: Mask) -> str:
    """The typical update at the chosen recorded steps, in learning rates, and what is usual; of Adam and its like only.

    Empty where it is not known, or no update was made.
    """
    layers = update_rms(run, optimizer)[:, weight_layers(run, optimizer)]
    typical = median(medians(layers[rows]))
    name = optimizer_class(run, optimizer)
    if "adam" not in name.lower() or not typical > 0:
        return ""
    return (
        f"{number(typical, 2)} learning rates per element (root mean square, median weight layer), where "
        f"{setting(USUAL[0])} to {setting(USUAL[1])} is usual of AdamW"
    )


def update_sizes(run: Run) -> str:
    """`update_size` over the last half of the run, of each optimizer, with its source."""
    found = [
        (update_size(run, optimizer, last_half(run, optimizer)), label_of(run, optimizer))
        for optimizer in run.optimizers
    ]
    said = "; ".join(f"{words}{label}" for words, label in found if words)
    return f"{said} (arXiv 2502.16982); over the last half of the run" if said else ""
