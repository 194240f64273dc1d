"""Published thresholds of two older tools, re-stated by us over recorded columns, as a baseline to compare with.

SageMaker Debugger: the defaults of its guide's built-in rules that need no activations. AutoTrainer (ICSE 2021): the
parameters of its monitor, without its gate on the accuracy, which no recorder of losses knows. What each deviates in
stands at the rule. Every recorded step is looked at; SageMaker Debugger's own default looks at every 500th.
"""

from collections.abc import Callable, Iterator

import numpy

from gradaudit.reading.run import Run

Rule = Callable[[Run], bool]


def fired(run: Run) -> dict[str, list[str]]:
    """The names of the rules that fire, by tool."""
    tools = {"SageMaker Debugger (thresholds)": SAGEMAKER, "AutoTrainer (thresholds)": AUTOTRAINER}
    with numpy.errstate(all="ignore"):
        return {tool: [name for name, rule in rules.items() if rule(run)] for tool, rules in tools.items()}


def _tensors(run: Run, stat: str) -> Iterator[numpy.ndarray]:
    """[recorded steps, tensors] of each optimizer."""
    for training in run.trainings:
        yield training.matrix(stat)


def _losses(run: Run) -> numpy.ndarray:
    return run.trainings[0].steps["objective"].to_numpy(float)


def _vanishing(run: Run) -> bool:
    """The mean absolute gradient of any tensor below 1e-7; its upper bound, the RMS, stands in for it."""
    for training in run.trainings:
        elements = numpy.array([tensor.elements for tensor in training.tensors], dtype=float)
        if (training.matrix("gradient_norm") / numpy.sqrt(elements) < 1e-7).any():
            return True
    return False


def _exploding(run: Run) -> bool:
    """NaN or infinity in the loss or a gradient."""
    broken = sum(numpy.nansum(values) for stat in ("gradient_nan", "gradient_inf") for values in _tensors(run, stat))
    return bool(broken > 0 or not numpy.isfinite(_losses(run)).all())


def _weight_update_ratio(run: Run) -> bool:
    """Update to weight above 10 or below 1e-8, by norms."""
    for updates, weights in zip(_tensors(run, "update_norm"), _tensors(run, "weight_norm"), strict=True):
        ratio = updates / (weights + 1e-9)
        if ((ratio > 10) | (ratio < 1e-8)).any():
            return True
    return False


def _loss_not_decreasing(run: Run) -> bool:
    """Less than 0.1 % down over 10 steps, anywhere."""
    losses = _losses(run)[::10]
    return bool((losses[1:] > 0.999 * losses[:-1]).any())


def _overfit(run: Run) -> bool:
    """(validation - training) / training above 0.1 at any evaluation; the training loss is a mean of ten steps."""
    held_out = run.evaluations
    train = run.steps.set_index("global_step")["mean_loss"].rolling(10, min_periods=1).mean()
    near = train.reindex(held_out["after_step"], method="nearest").to_numpy(float) if len(held_out) else numpy.zeros(0)
    return bool(((held_out["mean_loss"].to_numpy(float) - near) / near > 0.1).any())


def _unchanged(run: Run) -> bool:
    """All probed elements of a tensor unchanged over three recorded steps."""
    for unchanged in _tensors(run, "unchanged_fraction"):
        still = unchanged == 1
        if len(still) >= 3 and (still[2:] & still[1:-1] & still[:-2]).any():
            return True
    return False


def _all_zero(run: Run) -> bool:
    """A gradient of nothing but zeros."""
    return any((zeros == 1).any() for zeros in _tensors(run, "gradient_zero_fraction"))


def _class_imbalance(run: Run) -> bool:
    """The most frequent class more than ten times the rarest that occurs."""
    counts = [[count for count in loss.label_counts if count] for loss in run.meta.losses]
    return any(max(found) / min(found) > 10 for found in counts if found)


def _kernels(run: Run) -> Iterator[numpy.ndarray]:
    """[recorded steps, weights] of gradient norms in depth order, of each optimizer with two weights or more."""
    for training in run.trainings:
        kernels = [index for index, tensor in enumerate(training.tensors) if tensor.role == "weight"]
        if len(kernels) >= 2:
            yield training.matrix("gradient_norm")[:, kernels]


def _first_fades(run: Run) -> bool:
    """First weight's gradient below 1e-3 of the last one's, and below 1e-4."""
    return any(((norms[:, 0] < 1e-3 * norms[:, -1]) & (norms[:, 0] < 1e-4)).any() for norms in _kernels(run))


def _first_explodes(run: Run) -> bool:
    """First weight's gradient above 70 times the last one's."""
    return any((norms[:, 0] > 70 * norms[:, -1]).any() for norms in _kernels(run))


def _dying_relu(run: Run) -> bool:
    """At least 0.7 of all gradient elements exactly zero."""
    for training in run.trainings:
        elements = numpy.array([tensor.elements for tensor in training.tensors], dtype=float)
        zeros = numpy.nan_to_num(training.matrix("gradient_zero_fraction"))
        if (zeros @ elements / elements.sum() >= 0.7).any():
            return True
    return False


def _broken_loss(run: Run) -> bool:
    """A loss of 1e3 or more, or NaN."""
    return bool((~(_losses(run) < 1e3)).any())


SAGEMAKER: dict[str, Rule] = {
    "VanishingGradient": _vanishing,
    "ExplodingTensor": _exploding,
    "WeightUpdateRatio": _weight_update_ratio,
    "LossNotDecreasing": _loss_not_decreasing,
    "Overfit": _overfit,
    "UnchangedTensor": _unchanged,
    "AllZero": _all_zero,
    "ClassImbalance": _class_imbalance,
}
AUTOTRAINER: dict[str, Rule] = {
    "vanishing gradient": _first_fades,
    "exploding gradient": _first_explodes,
    "dying ReLU": _dying_relu,
    "abnormal loss": _broken_loss,
}
