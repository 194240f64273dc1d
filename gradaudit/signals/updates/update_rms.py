"""Updates in units of the learning rate: how far a step goes per element, where Adam's bound is about one."""

import numpy

from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.order_statistics import Floats, median, medians
from gradaudit.signals.updates.learning_rates import recorded_learning_rates
from gradaudit.signals.updates.ratios import last_half
from gradaudit.training import Training, signal

# Moonlight (arXiv 2502.16982, section 2.2) gives 0.2 to 0.4 for AdamW. The weight layers of two healthy runs of the
# laboratory, at every eps from 1e-12 to 1e-4: 0.18 to 0.29.
USUAL = (0.2, 0.4)


@signal
def update_rms(training: Training) -> Floats:
    """[recorded steps, tensors]: root mean square of the update over the learning rate; NaN where either is unknown."""
    elements = numpy.sqrt([max(1, tensor.elements) for tensor in training.tensors])
    rates = recorded_learning_rates(training)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.asarray(training.matrix("update_norm") / elements / numpy.where(rates > 0, rates, numpy.nan))


@signal
def median_update_rms(training: Training) -> float:
    """The same of the median weight layer over the last half of the run; NaN where it is not known."""
    layers = update_rms(training)[:, weight_layers(training)]
    return median(medians(layers[last_half(training)]))
