"""What steps that are too large have done to the loss and to the weights, in sentences and measures."""

import math

import numpy

from gradaudit.evidence.words.wording import count, factor, number, percent, setting
from gradaudit.findings import Measure, Severity
from gradaudit.signals.gradients.finiteness import diverged_before, non_finite_onset
from gradaudit.signals.loss.progress import constant_level, divergence, not_learning, other_scale
from gradaudit.signals.loss.progress import epochs as epochs_of
from gradaudit.signals.loss.training_loss import TrainingLoss, training_loss
from gradaudit.signals.order_statistics import largest, median
from gradaudit.signals.updates.learning_rates import maximizes
from gradaudit.training import Training

_SIZE = "largest median update-to-weight ratio"
_DEVIATIONS = 4.0  # standard deviations from batch to batch, on a logarithmic scale


def symptom(training: Training, epochs: float, steps: float) -> tuple[str, int]:
    """How training fails, in a sentence, and from which global step on; empty when nothing."""
    broken = non_finite_onset(training)
    if broken is not None and not broken.recovered and diverged_before(broken):
        return f"The run ends in NaN or infinity, first at step {count(broken.step)}.", broken.step
    if maximizes(training):
        return "", 0  # a loss that rises because it is maximized says nothing of the size of the steps
    away = divergence(training)
    if away is not None:
        loss = training_loss(training)
        from_to = f"it starts at {number(loss.first)} and ends at {number(loss.last)}"
        return f"The loss diverges at step {count(away)}: {from_to}.", away
    passed = epochs_of(training)
    long_enough = len(training.steps) >= steps if math.isnan(passed) else passed >= epochs
    if long_enough and not_learning(training):
        return "The loss ends no lower than that of a model that ignores its input.", 0
    return "", 0


def _early(loss: TrainingLoss) -> tuple[float, float]:
    """The median of steps 1 to 5 and the largest of the first ten over the first loss; NaN where that says nothing."""
    if loss.shapeless or not loss.first > 0:
        return math.nan, math.nan
    return median(loss.values[1:6]) / loss.first, largest(loss.values[1:10]) / loss.first


def _scatter(loss: TrainingLoss) -> float:
    """The factor by which losses differ from batch to batch, after the first ten steps; 1 where none are known."""
    after = loss.values[10:60]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        apart = numpy.abs(numpy.diff(numpy.log(after)))
    # A standard deviation of logarithms: the difference of two has the square root of two.
    return math.exp(median(apart) / 0.954) if numpy.isfinite(apart).any() else 1.0


def overshooting(loss: TrainingLoss, overshoot: float, jump: float) -> str:
    """How far the loss went up over the first steps, beyond what batches differ by; or nothing."""
    middle, top = _early(loss)
    # The first loss is that of one batch: of a loss whose batches differ three times it may be anything.
    noise = _scatter(loss) ** _DEVIATIONS
    if top >= max(jump, noise):
        return f"Within the first ten steps the loss jumps to {factor(top)} times its start."
    if middle >= max(overshoot, noise):
        return f"Over the first steps the loss is {factor(middle)} times its start."
    return ""


def little(loss: TrainingLoss, kept: float) -> str:
    """What a loss has come to that keeps `kept` of its first value, or of what needs no input to reach; or nothing."""
    if loss.shapeless or not loss.first > 0:
        return ""
    if loss.last / loss.first >= kept:
        return f"The loss ends at {number(loss.last)}, {percent(loss.last / loss.first)} of its start."
    # How often each token occurs is learned in a few steps: a fall from a uniform prediction to that shows nothing.
    if _of_constant(loss) >= kept:
        level = number(constant_level(loss))
        return f"The loss ends at {number(loss.last)}, and a constant prediction has {level}."
    return ""


def _of_constant(loss: TrainingLoss) -> float:
    """The last loss over that of the best constant predictor; NaN where either says nothing of the other."""
    level = constant_level(loss)
    return math.nan if loss.shapeless or other_scale(loss) or not level > 0 else loss.last / level


def size_measures(
    top: float, severity: Severity, times: float, *, with_symptom: float, note: float, grown: float
) -> list[Measure]:
    """How large the steps are, and how much the weights have grown by them."""
    growth = Measure(
        quantity="growth of the median weight layer within ten steps", value=times if times > 0 else None,
        comparison=">=", threshold=grown, option="grown", decides="warning",
    )  # fmt: skip
    if severity is Severity.CRITICAL:
        return [
            Measure(quantity=f"{_SIZE}, of a training that fails", value=top, comparison=">=",
                    threshold=with_symptom, option="with_symptom", decides="critical"),
        ]  # fmt: skip
    if top >= note:
        return [Measure(quantity=_SIZE, value=top, comparison=">=", threshold=note, option="note"), growth]
    return [
        Measure(quantity=f"{_SIZE}, where the weights grow at once", value=top, comparison=">=", threshold=with_symptom,
                option="with_symptom"),
        growth,
    ]  # fmt: skip


def harm_measures(
    loss: TrainingLoss, top: float, *, overshoot: float, jump: float, kept: float, alone: float
) -> list[Measure]:
    """What makes it a warning: an early jump of the loss, or larger steps and a loss that keeps its height."""
    middle, highest = _early(loss)
    if math.isnan(middle):
        return []
    first = Measure(
        quantity="last loss / first loss", value=loss.last / loss.first, comparison=">=", threshold=kept,
        option="kept", decides="warning", any_of="harm",
    )  # fmt: skip
    constant = Measure(
        quantity="last loss / that of a constant prediction", value=_of_constant(loss), comparison=">=",
        threshold=kept, option="kept", decides="warning", any_of="harm",
    )  # fmt: skip
    large = Measure(
        quantity=f"{_SIZE}, of a loss that keeps {setting(kept)} of its start", value=top, comparison=">=",
        threshold=alone, option="alone", decides="warning", any_of="harm",
    )  # fmt: skip
    known = [first] if constant.value is None else [first, constant]
    return [
        Measure(quantity="median loss of steps 1-5 / first loss", value=middle, comparison=">=", threshold=overshoot,
                option="overshoot", decides="warning", any_of="harm"),
        Measure(quantity="largest of the first ten losses / first loss", value=highest, comparison=">=", threshold=jump,
                option="jump", decides="warning", any_of="harm"),
        *([large] if any(each.met for each in known) else known),
    ]  # fmt: skip
