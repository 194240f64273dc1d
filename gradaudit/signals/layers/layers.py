"""Which tensors may be compared with which: weight layers, dense ones, ones that start at zero."""

import numpy

from gradaudit.schema import TensorFacts
from gradaudit.signals.order_statistics import Mask
from gradaudit.training import Training, signal

# Substrings of the class of a module whose matrices mix inputs into outputs; MultiheadAttention holds in_proj_weight.
_LAYERS = ("Linear", "Conv", "RNN", "LSTM", "GRU", "Attention", "Dense")
_DENSE = 0.8  # share of the steps with a non-zero gradient; mixture-of-experts layers stay below
_ZERO_INITIALISED = 1e-6  # RMS of the first weights: zero-initialised heads, LoRA's B, ReZero


def _is_layer(tensor: TensorFacts) -> bool:
    # weight_norm and spectral_norm move the matrix into a ParametrizationList; original0 of weight_norm is its scale.
    parametrized = tensor.module_class == "ParametrizationList" and not tensor.name.endswith("original0")
    return parametrized or any(word in tensor.module_class for word in _LAYERS)


@signal
def weight_layers(training: Training) -> Mask:
    """[tensors]: trainable matrices of linear, convolution and recurrent layers that an optimizer owns.

    No embeddings, norms, biases or single elements: their scale says nothing about their learning.
    A model without any such layer class is taken by its matrices.
    """
    tensors = training.tensors
    matrices = [
        t.role == "weight" and len(t.shape) >= 2 and t.elements > 1 and t.requires_grad and t.optimizer >= 0
        for t in tensors
    ]
    layers = [matrix and _is_layer(tensor) for matrix, tensor in zip(matrices, tensors, strict=True)]
    return numpy.asarray(layers if any(layers) else matrices, dtype=bool)


@signal
def embeddings(training: Training) -> Mask:
    """[tensors]: embedding tables."""
    return numpy.asarray([tensor.role == "embedding" for tensor in training.tensors], dtype=bool)


@signal
def dense(training: Training) -> Mask:
    """[tensors]: a non-zero gradient at more than 80 % of the recorded steps."""
    norms = training.matrix("gradient_norm")
    if not len(norms):
        return numpy.zeros(norms.shape[1], dtype=bool)
    unusable = training.matrix("gradient_nan") + training.matrix("gradient_inf") > 0
    return numpy.asarray(((norms > 0) | unusable).mean(axis=0) > _DENSE)


@signal
def zero_initialised(training: Training) -> Mask:
    """[tensors]: weights that were zero at the first recorded step, so that every ratio to them is meaningless."""
    tensors = training.tensors
    norms = training.matrix("weight_norm")
    if not len(norms):
        return numpy.zeros(len(tensors), dtype=bool)
    first = norms[numpy.argmax(numpy.isfinite(norms), axis=0), numpy.arange(len(tensors))]
    size = numpy.sqrt([max(tensor.elements, 1) for tensor in tensors])
    return numpy.asarray(first < _ZERO_INITIALISED * size)


@signal
def comparable_layers(training: Training) -> Mask:
    """[tensors]: weight layers, dense, not starting at zero: those whose statistics may be held against each other."""
    return numpy.asarray(weight_layers(training) & dense(training) & ~zero_initialised(training))
