"""Layers that are fed with samples on purpose, as the decoder of a variational autoencoder is."""

import numpy

from gradaudit.signals.order_statistics import Mask
from gradaudit.training import Training


def behind_samples(training: Training) -> Mask:
    """[tensors]: those right behind a code whose distribution has a term of its own in the objective.

    Such a term reaches every weight in front of the module and none from there on, while another term reaches all.
    """
    tensors, found = training.tensors, numpy.zeros(len(training.tensors), dtype=bool)
    weights = [place for place, tensor in enumerate(tensors) if tensor.role in ("weight", "embedding")]
    terms = [set(term.tensors) for term in training.run.meta.graph.terms if training.id in term.optimizers]
    for reached in terms:
        ends = [place for place in weights if tensors[place].id not in reached]
        starts = [place for place in weights if tensors[place].id in reached]
        whole = any({tensors[place].id for place in weights} <= other for other in terms)
        if ends and starts and whole and max(starts) < ends[0]:
            found |= numpy.asarray([tensor.module == tensors[ends[0]].module for tensor in tensors])
    return found
