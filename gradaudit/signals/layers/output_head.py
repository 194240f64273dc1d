"""The layer that makes the outputs of a model."""

import numpy

from gradaudit.signals.layers.layers import weight_layers
from gradaudit.signals.loss.training_loss import training_loss
from gradaudit.training import Training, signal


@signal
def output_head(training: Training) -> int | None:
    """The column of the deepest weight with a row for each class of the loss, a table tied to the output included.

    Of a loss without classes the deepest weight layer; None without any.
    """
    tensors = training.tensors
    facts = training_loss(training).facts
    classes = facts.classes if facts is not None else 0
    trained = [index for index, t in enumerate(tensors) if t.requires_grad and t.optimizer >= 0 and len(t.shape) >= 2]
    rows = [i for i in trained if classes > 1 and tensors[i].shape[0] == classes]
    # A table of as many rows that is not tied to anything is an input.
    rows = [i for i in rows if tensors[i].role != "embedding" or tensors[i].aliases]
    if rows:
        # A tied table is registered at the input and is the output all the same.
        tied = [i for i in rows if tensors[i].role == "embedding"]
        return tied[-1] if tied else rows[-1]
    layers = numpy.flatnonzero(weight_layers(training))
    return int(layers[-1]) if len(layers) else None
