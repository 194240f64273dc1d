"""What a model that ignores its input would score: by a uniform prediction, and by knowing the label frequencies."""

import math

import numpy

from gradaudit.schema import LossFacts
from gradaudit.signals.loss.training_loss import Kind


def uniform_loss(facts: LossFacts, kind: Kind) -> float:
    """The loss of a uniform prediction: ln N for N classes, ln 2 for each binary output; NaN for other losses.

    Label smoothing does not move it, and neither do class weights with reduction='mean', which
    divides by their sum. Other reductions multiply it by the mean weight of a target.
    """
    if kind == "classification" and facts.classes > 1:
        return math.log(facts.classes) * _mean_weight(facts)
    if kind == "binary":
        return math.log(2) * _mean_weight(facts)
    return math.nan


def constant_loss(facts: LossFacts, kind: Kind) -> float:
    """The loss of the best constant predictor: label entropy, binary entropy or target variance; NaN if unknown.

    With class weights the labels count by weight; with label smoothing the target is the smoothed
    distribution, whose entropy is bounded from below by concavity where only the entropy is known.
    """
    if kind == "binary":
        return math.nan if facts.binary_entropy is None or facts.weighted else facts.binary_entropy
    if kind == "regression":
        # A constant for each output: pixels differ from each other by more than an image does from the mean image.
        variance = facts.target_variance if facts.output_variance is None else facts.output_variance
        return math.nan if variance is None else variance
    if kind != "classification" or facts.classes < 2:
        return math.nan
    smoothing = facts.label_smoothing
    if facts.label_counts:
        counts = numpy.asarray(facts.label_counts, dtype=float)
        if facts.weighted and len(facts.class_weights) == len(counts):
            counts = counts * numpy.asarray(facts.class_weights, dtype=float)
        if counts.sum() > 0:
            share = counts / counts.sum() * (1 - smoothing) + smoothing / len(counts)
            positive = share[share > 0]
            return float(-(positive * numpy.log(positive)).sum()) * _mean_weight(facts)
    if facts.label_entropy is None or facts.weighted:
        return math.nan
    return (1 - smoothing) * facts.label_entropy + smoothing * math.log(facts.classes)


def _mean_weight(facts: LossFacts) -> float:
    """The mean weight of a training target where the loss does not divide by it; NaN when it is not known."""
    averaged = facts.reduction == "mean" and not facts.function.startswith("binary")
    if not facts.weighted or averaged:
        return 1.0
    if 0 < len(facts.class_weights) == len(facts.label_counts) and any(facts.label_counts):
        return float(numpy.average(numpy.asarray(facts.class_weights, dtype=float), weights=facts.label_counts))
    return math.nan
